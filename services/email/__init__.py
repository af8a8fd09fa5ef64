"""The e-mail channel: SMTP and SendGrid."""
