"""The generator and the discriminator of the strategy gan."""
