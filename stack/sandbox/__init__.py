"""The providers on this machine: SendGrid, Twilio, SNS, FCM with Google's token endpoint, and a push service for
browsers, in one process.

It refuses what they refuse, keeps a ledger of every effect, misbehaves as a script tells it, and calls back.
"""
