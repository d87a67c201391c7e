"""What keeps metadata in a file."""


class CannotStrip(ValueError):
    """Metadata of this file cannot be taken out without decoding it anew. The message is a sentence for people."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"This server keeps no private metadata, which cannot be taken out of {kind}; send a JPEG or PNG"
        )


class Damaged(CannotStrip):
    """The file's parts are not where they should be."""

    def __init__(self) -> None:
        ValueError.__init__(self, "The file is damaged, so that its private metadata cannot be taken out")
