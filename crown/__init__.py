"""What every service of the suite shares: small modules, each named for one thing."""

__version__ = "0.1.0"
