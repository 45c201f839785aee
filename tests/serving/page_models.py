"""The small SavedModels that the page is tried with: each answers in another shape."""

import json

import tensorflow as tf

MARKUP = "<img src=x onerror=alert(1)>"  # also a model's name
SCRIPT = "<script>alert(1)</script>"
SETTINGS = {"times": 2, "joint": " "}
CARD = f"""# A card

Read *this* and **that**, [here](https://example.org/), not [there](javascript:alert(1)).
{SCRIPT}

| metric | test |
| --- | --- |
| f1 \\| micro | 0.5000 |

```
curl -d '{{"instances": [{{"text": "It's a sample."}}]}}' http://localhost:8501/v1/models/x:predict
```
"""


def before(text, word):
    """Return how many characters stand before a word; of the whole text if it has none."""
    head = tf.strings.regex_replace(text, f"(?s){word}.*", "")
    return tf.strings.length(head, "UTF8_CHAR")


def labels(text):
    rows = tf.shape(text)[0]
    scores = tf.tile([[0.04, 0.9, 0.06]], [rows, 1])
    return {
        "label": tf.fill([rows], "good"),
        "score": scores[:, 1],
        "labels": tf.tile([["bad", "good", SCRIPT]], [rows, 1]),
        "scores": scores,
    }


def liked(text):
    """A label that follows from the word good alone."""
    good = tf.cast(tf.strings.regex_full_match(text, "(?s).*good.*"), tf.float32)
    scores = tf.stack([0.9 - 0.8 * good, 0.1 + 0.8 * good], 1)
    names = tf.constant(["bad", "fine"])
    return {
        "label": tf.gather(names, tf.argmax(scores, 1)),
        "score": tf.reduce_max(scores, 1),
        "labels": tf.broadcast_to(names, tf.shape(scores)),
        "scores": scores,
    }


def explained(text):
    """What speaks for it: the first two characters; and against it: the third."""
    rows = tf.shape(text)[0]
    of = {
        "input": tf.fill([rows, 3], "text"),
        "text": tf.tile([["🎉", "é", ""]], [rows, 1]),
        "start": tf.tile([[0, 1, 0]], [rows, 1]),
        "end": tf.tile([[1, 2, 0]], [rows, 1]),
        "weight": tf.tile([[2.0, -1.0, 9.0]], [rows, 1]),
    }
    return {
        "label": tf.fill([rows], SCRIPT),
        "score": tf.fill([rows], 0.5),
        "pieces": tf.fill([rows], 2),
        **{f"pieces/{name}": value for name, value in of.items()},
    }


def several(text):
    """Many labels, of which two are given."""
    rows, names = tf.shape(text)[0], [f"label {i}" for i in range(14)]
    scores = [0.9, 0.02, 0.8, *(0.001 * i for i in range(11))]
    return {
        "label": tf.fill([rows], "label 0|label 2"),
        "labels": tf.tile([names], [rows, 1]),
        "scores": tf.tile([scores], [rows, 1]),
        "given": tf.tile([[score > 0.5 for score in scores]], [rows, 1]),
    }


def entities(text):
    """Rome and Ada, padded by a third that does not count; and what joins them."""
    words, kinds = ("Ada", "Rome"), ("PERSON", "PLACE")
    starts = tf.stack([before(text, word) for word in words], 1)
    rows = tf.shape(text)[0]
    missing = tf.fill([rows, 1], -1)
    ends = starts + tf.constant([[len(word) for word in words]])
    of = {
        "text": tf.tile([[*words, ""]], [rows, 1]),
        "type": tf.tile([[*kinds, ""]], [rows, 1]),
        "start": tf.concat([starts, missing], 1),
        "end": tf.concat([ends, missing], 1),
        "score": tf.tile([[0.97, 0.99, 0.0]], [rows, 1]),
    }
    both = tf.fill([rows], b"Ada"), tf.fill([rows], b"lives in"), tf.fill([rows], b"Rome")
    triples = dict(zip(("head", "relation", "tail"), both, strict=True))
    return {
        "entities": tf.fill([rows], 2),
        **{f"entities/{name}": value for name, value in of.items()},
        "triples": tf.fill([rows], 1),
        **{f"triples/{name}": value[:, None] for name, value in triples.items()},
    }


def answer(context, question):
    there = tf.strings.regex_full_match(context, "(?s).*in 1889.*")
    start = tf.where(there, before(context, "in 1889"), -1)
    return {
        "answer": tf.where(there, "in 1889", ""),
        "start": start,
        "end": tf.where(there, start + 7, -1),
        "score": tf.where(there, 0.75, 0.9),
        "no_answer": tf.where(there, 0.1, 0.9),
    }


def generated(text):
    return {
        "generated": "1. " + text + "\n2. " + tf.strings.upper(text),
        "score": tf.fill(tf.shape(text), -0.5),
        "tokens": tf.strings.length(text),
        "cut": tf.fill(tf.shape(text), 3),
    }


def talked(text):
    return {"generated": tf.fill(tf.shape(text), "So?")}


def repeated(text, times, joint):
    words = tf.repeat((text + joint)[:, None], times[0], 1)
    return {"generated": tf.strings.reduce_join(words, 1)}


def numbers(text):
    rows = tf.shape(text)[0]
    return {
        "embedding": tf.ones([rows, 16]) / 4,
        "similarity": tf.fill([rows], 0.25),
        "undefined": tf.fill([rows], float("nan")),
    }


def save(folder, beside=None, **signatures):
    """Write a version, each signature a function and its inputs' dtypes by name."""
    found = {}
    for name, (call, dtypes) in signatures.items():
        specs = [tf.TensorSpec([None], dtype, key) for key, dtype in dtypes.items()]
        found[name] = tf.function(call, input_signature=specs, autograph=False)
    tf.saved_model.save(tf.Module(), str(folder / "1"), found)
    for name, content in (beside or {}).items():
        (folder / "1" / name).write_text(content, "utf-8")


def write(folder):
    """Write the models."""
    text = {"text": tf.string}
    told = {"times": tf.int32, "joint": tf.string}
    settings = json.dumps({"repeated": SETTINGS})
    save(folder / "labels", {"README.md": CARD}, serving_default=(labels, text))
    save(folder / "several", serving_default=(several, text))
    save(folder / "liked", serving_default=(liked, text))
    save(folder / "explained", serving_default=(labels, text), explain=(explained, text))
    save(folder / "entities", serving_default=(entities, text))
    pair = dict.fromkeys(("context", "question"), tf.string)
    save(folder / "answer", serving_default=(answer, pair))
    save(
        folder / "generated",
        {"settings.json": settings},
        repeated=(repeated, text | told),
        serving_default=(generated, text),
        ids=(lambda ids: {"twice": ids * 2}, {"ids": tf.int32}),
    )
    talk = {"inputs.json": json.dumps({"text": "turns"})}
    save(folder / "talk", talk, serving_default=(talked, text))
    (folder / "broken" / "1").mkdir(parents=True)
    (folder / "broken" / "1" / "saved_model.pb").write_text("no model")
    save(folder / "numbers", serving_default=(numbers, text))
    save(folder / MARKUP, serving_default=(lambda text: {"said": text}, text))
    save(folder / "ids", serving_default=(lambda ids: {"y": ids}, {"ids": tf.int32}))
