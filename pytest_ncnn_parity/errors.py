"""The one exception tree. Each message says what was found, where, and what to do."""


class ParityError(Exception):
    """What a user did or gave that cannot work; its text is the whole message."""
