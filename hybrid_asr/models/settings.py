"""What the configurations of all encoders and decoders can be asked, so that nobody needs to ask for their kind."""


class EncoderSettings:
    """The common base of encoder configurations."""

    @property
    def follows_progress(self) -> bool:
        """Whether training it depends on how much of the training is done, so on the number of all epochs."""
        return False

    def check_features(self, seconds_per_frame: float, features: int) -> None:
        """Raise UserError if the encoder cannot use `features` numbers per frame of `seconds_per_frame` seconds.

        An encoder's configuration does not know the features. The default accepts all.
        """


class AttentionSettings:
    """The common base of attention decoder configurations."""

    @property
    def learns_attention(self) -> bool:
        """Whether attention is learned, so that it can fail to align and is worth monitoring."""
        return True

    @property
    def can_be_guided(self) -> bool:
        """Whether the decoder returns its attention weights in training, as the guided attention loss needs."""
        return False

    @property
    def follows_progress(self) -> bool:
        """Whether training it depends on how much of the training is done, so on the number of all epochs."""
        return False
