"""The peer of benchmarks/serving.py: a Transformers pipeline behind the simplest FastAPI endpoint.

Run by benchmarks/serving.py in an environment of its own: PYTHON serving_peer.py BERT_FOLDER PORT
"""

import sys

import uvicorn
from fastapi import FastAPI
from transformers import pipeline

classify = pipeline("text-classification", model=sys.argv[1], device=-1)
app = FastAPI()


@app.post("/predict")
def predict(texts: list[str]) -> list[dict]:
    """Label texts, in the thread that FastAPI gives each request."""
    return list(classify(texts, truncation=True))


uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
