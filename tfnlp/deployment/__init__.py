"""Files that deploy SavedModels with TF Serving, and checks of the models beforehand."""
