"""The providers on this machine: SendGrid, Twilio, FCM and Google's token endpoint in one process.

It refuses what they refuse, keeps a ledger of every effect, and misbehaves as a script tells it.
"""
