"""The pretrained backbones: their catalog and how they are loaded."""
