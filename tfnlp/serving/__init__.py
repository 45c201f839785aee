"""TF Serving's protocol over any SavedModels; knows nothing of tasks."""
