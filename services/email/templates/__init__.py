"""What e-mails look like: templates in Jinja2 and MJML, built in or stored, in versions and languages."""
