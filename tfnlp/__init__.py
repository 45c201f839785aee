"""tfnlp: fine-tune a pretrained BERT, watch it in TensorBoard, serve it with TF Serving."""

__version__ = "0.2.0"
