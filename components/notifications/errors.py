"""Errors of deliveries."""


class DeliveryError(Exception):
    """A message was not delivered. The message says why, and has no URL, which may be a secret.

    Attributes:
      may_pass: whether another attempt may succeed.
    """

    def __init__(self, message: str, *, may_pass: bool = False):
        super().__init__(message)
        self.may_pass = may_pass
