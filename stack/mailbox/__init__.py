"""The SMTP server of this machine: it takes every mail, keeps it, and shows it over HTTP."""
