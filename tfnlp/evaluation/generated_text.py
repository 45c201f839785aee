"""Generated text: how close to the references it is, how varied, and how well predicted.

BLEU and chrF are between 0 and 100, as sacrebleu prints them; ROUGE and distinct-n between 0 and 1.
Empty texts, or no text at all, score 0. All is deterministic.

Of each text the first 10,000 characters are read, and by ROUGE of those the first 1,000 words, so
that one endless line costs no minutes.

Dimensions: N rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal, TypeAlias

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer
from sacrebleu.metrics import BLEU, CHRF
from scipy.stats import spearmanr

from tfnlp.evaluation import plots
from tfnlp.evaluation.diversity import BY_CHARACTER, HAN, LONGEST, ngrams
from tfnlp.evaluation.diversity import bleu_against as bleu_against
from tfnlp.evaluation.diversity import distinct as distinct
from tfnlp.evaluation.diversity import self_bleu as self_bleu
from tfnlp.evaluation.diversity import words as words
from tfnlp.evaluation.language_modeling import perplexity_per_word
from tfnlp.report import Report, Table

Headline = Literal["bleu", "rougeL", "chrf"]
References: TypeAlias = Sequence[Sequence[str]]  # N rows of one or more texts each

ROUGE_WORDS = 1_000  # compared with each other, in time that grows with their square
SAMPLES = 8  # rows of the table of samples
_SHOWN = 200  # characters of a text in that table
_LOOP = (4, 3)  # a text repeats itself that has a 4-gram 3 times

# Words that make up a quarter of English prose, a tenth of its headlines, and of others little.
_ENGLISH = re.compile(
    r"the|of|and|to|is|you|for|with|on|that|it|was|this|at|by|from|i|what|how|have|he|be"
)
_ENDLESS = re.compile(r"([a-z0-9]{100})[a-z0-9]+", re.IGNORECASE)
# A mark after a capital by itself (U.S., J. Smith) or a title ends no sentence.
_SENTENCE_END = re.compile(
    r"""(?x)
    (?<![.!?…]) (?<!\b[A-Z]) (?<!\b[DMS]r) (?<!\bM[rs]s) (?<!\bMs) (?<!\bSt)
    [.!?…]++ ["'”’»)\]]*+ (?: \s++(?=[^a-z]) | \s*+\Z )
    | [。！？]++ ["'”’」』）]*+ \s*+
    | \n[^\S\n]*+\n \s*+
    """
)


def bleu(texts: Sequence[str], references: References) -> float:
    """Return the corpus BLEU of N texts, 0 to 100.

    The tokenizer is sacrebleu's 13a; ``zh`` if most letters of the references are Han, and
    ``char`` if most are of another script without spaces (kana, Thai, Lao, Burmese, Khmer). As in
    sacrebleu, texts all shorter than four words score 0.

    Args:
        texts: what a model wrote.
        references: for each of them one or more right texts.

    Example:
        >>> round(bleu(["the cat sat on a mat"], [["the cat sat on the mat"]]), 1)
        53.7

    Source: Papineni et al. 2002 (https://aclanthology.org/P02-1040); Post 2018, "A call for clarity
        in reporting BLEU scores" (https://aclanthology.org/W18-6319).
    """
    return float(_bleu(texts, references).score) if len(texts) else 0.0


def _bleu(texts: Sequence[str], references: References) -> Any:
    """Return sacrebleu's score, with lengths, of at least one text."""
    metric = BLEU(tokenize=_tokenizer(references), force=True)
    return metric.corpus_score(_cut(texts), _streams(references))


def chrf(texts: Sequence[str], references: References) -> float:
    """Return the corpus chrF (six characters, beta 2) of N texts, 0 to 100; see `bleu`.

    Example:
        >>> round(chrf(["the cat"], [["the cat"]]), 1)
        100.0

    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"
        (https://aclanthology.org/W15-3049).
    """
    if not len(texts):
        return 0.0
    return float(CHRF().corpus_score(_cut(texts), _streams(references)).score)


def each_chrf(texts: Sequence[str], references: References) -> np.ndarray:
    """Return the chrF of each text by itself, float64 (N,), 0 to 100.

    Example:
        >>> each_chrf(["the cat", "xyz"], [["the cat"], ["the cat"]]).round(1).tolist()
        [100.0, 0.0]
    """
    metric = CHRF()
    pairs = zip(_cut(texts), references, strict=True)
    return np.array([metric.sentence_score(t, _cut(row) or [""]).score for t, row in pairs], float)


def rouge(texts: Sequence[str], references: References) -> dict[str, float]:
    """Return the mean F1 of N texts, 0 to 1, by ``rouge1``, ``rouge2``, ``rougeL``.

    English, recognised by its commonest words in the references, is cut into words and stemmed by
    rouge-score itself, whose words are of a to z and digits only. Others are lower-cased words of
    any script, unstemmed; characters where a script has no spaces. Of several references the best
    counts, for each of the three.

    Example:
        >>> round(rouge(["the cat sat"], [["the cat ran"]])["rouge1"], 3)
        0.667

    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries"
        (https://aclanthology.org/W04-1013); https://pypi.org/project/rouge-score, whose rougeL
        takes the whole text for one sentence.
    """
    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(names, tokenizer=_RougeWords(_is_english(references)))
    pairs = zip(_cut(texts), references, strict=True)
    by_text = [scorer.score_multi(_cut(row) or [""], text) for text, row in pairs]
    sums = {name: math.fsum(row[name].fmeasure for row in by_text) for name in names}
    return {name: value / max(len(by_text), 1) for name, value in sums.items()}


class _RougeWords:
    """Cuts a text into words for rouge-score."""

    def __init__(self, english: bool) -> None:
        self.english = DefaultTokenizer(use_stemmer=True) if english else None

    def tokenize(self, text: str) -> list[str]:
        if self.english is None:
            return words(text.lower(), punctuation=False)[:ROUGE_WORDS]
        # The stemmer calls itself once a letter y.
        tokens: list[str] = self.english.tokenize(_ENDLESS.sub(r"\1", text))
        return tokens[:ROUGE_WORDS]


def _cut(texts: Iterable[str]) -> list[str]:
    """Return the beginnings of texts that are read."""
    return [text[:LONGEST] for text in texts]


def _streams(references: References) -> list[tuple[str | None, ...]]:
    """Turn N rows of references into sacrebleu's streams: all first ones, all second ones, ..."""
    return list(zip_longest(*(_cut(row) or [""] for row in references)))


def _tokenizer(references: References) -> str:
    """Choose one of sacrebleu's tokenizers."""
    text = "".join(one for row in references for one in _cut(row))
    letters = sum(map(str.isalpha, text))
    if 2 * len(re.findall(f"[{HAN}]", text)) > letters:
        return "zh"
    return "char" if 2 * len(BY_CHARACTER.findall(text)) > letters else "13a"


def _is_english(references: References) -> bool:
    """Return whether a twelfth of the words are common English ones."""
    every = [word for row in references for text in row for word in _cut([text])[0].lower().split()]
    return bool(every) and 12 * sum(map(bool, map(_ENGLISH.fullmatch, every))) >= len(every)


# Reports


def report(
    texts: Sequence[str],
    references: References,
    sources: Sequence[str] | None,
    *,
    headline: Headline,
    baselines: Mapping[str, Sequence[str]],
    scores: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    likelihood: tuple[float, int, int] | None = None,
) -> Report:
    """Return the report on N generated texts.

    Args:
        texts: what the model wrote.
        references: for each one or more right texts.
        sources: what it was given, shown with the samples.
        headline: the metric that comes first.
        baselines: N texts each, by name, that need no model; the strongest rival first.
        scores: float (N,), the model's own, whose rank correlation with chrF is then reported.
        tokens: int (N,), lengths of what it wrote.
        likelihood: of the references by the model: the sum of negative log-likelihoods [nats],
            tokens, words.

    Example:
        >>> right = [["the cat sat on the mat"]]
        >>> round(report(right[0], right, None, headline="bleu", baselines={}).metrics["bleu"], 1)
        100.0
    """
    values = _measured(texts, references)
    rivals = {name: _measured(rows, references) for name, rows in baselines.items()}
    names = list(dict.fromkeys([headline, "bleu", "chrf", "rougeL", "distinct_2", "length_ratio"]))
    table = Table(
        "Baselines",
        ("written by", *names),
        [
            (by, *(_figure(name, found[name]) for name in names))
            for by, found in {"the model": values, **rivals}.items()
        ],
    )
    each = {
        by: each_chrf(t, references) for by, t in [("the model", texts), *baselines.items()][:2]
    }
    reported = {headline: values[headline], **values}
    if tokens is not None:
        reported["mean_tokens"] = float(tokens.sum()) / max(len(tokens), 1)
    if scores is not None:
        reported["score_correlation"] = _correlation(scores, each["the model"])
    if likelihood is not None:
        loss, count, of_words = likelihood
        reported["perplexity"] = perplexity_per_word(loss, count)
        reported["perplexity_per_word"] = perplexity_per_word(loss, of_words)
    lengths = {
        "references": np.array([len(words(row[0])) if row else 0 for row in references]),
        "generated": np.array([len(words(text)) for text in texts]),
    }
    figures = {
        "chrf_by_row": lambda: plots.histograms("chrF of a row", each),
        "lengths": lambda: plots.histograms("length [words]", lengths),
    }
    tables = [table, _samples(texts, references, sources)]
    return Report(reported, tables, figures, _warnings(values, rivals, headline))


def _measured(texts: Sequence[str], references: References) -> dict[str, float]:
    """Return all metrics of texts that need nothing but the references."""
    score = _bleu(texts, references) if len(texts) else None
    rows = max(len(texts), 1)
    n, often = _LOOP
    loops = sum(max(ngrams(words(t), n, n).values(), default=0) >= often for t in texts)
    return {
        "bleu": float(score.score) if score else 0.0,
        "chrf": chrf(texts, references),
        **rouge(texts, references),
        "distinct_1": distinct(texts, 1),
        "distinct_2": distinct(texts, 2),
        "length_ratio": score.sys_len / max(score.ref_len, 1) if score else 0.0,
        "empty": sum(not text.strip() for text in texts) / rows,
        "repeated": loops / rows,
    }


def _figure(name: str, value: float) -> str:
    """Format a metric with a suitable number of digits."""
    return f"{value:.2f}" if name in ("bleu", "chrf") else f"{value:.3f}"


def _correlation(scores: np.ndarray, right: np.ndarray) -> float:
    """Return Spearman's rank correlation; nan where one of the two does not vary."""
    known = np.isfinite(scores)
    a, b = scores[known], right[known]
    return float(spearmanr(a, b)[0]) if len({*a}) > 1 and len({*b}) > 1 else math.nan


def _samples(texts: Sequence[str], references: References, sources: Sequence[str] | None) -> Table:
    """Show evenly spaced rows."""
    places = np.linspace(0, len(texts) - 1, min(SAMPLES, len(texts))).round().astype(int).tolist()
    columns: dict[str, list[str]] = {} if sources is None else {"source": list(sources)}
    columns |= {"reference": [" || ".join(row) for row in references], "generated": list(texts)}
    rows = [tuple(_shortened(values[i]) for values in columns.values()) for i in places]
    return Table("Samples", tuple(columns), rows)


def _shortened(text: str) -> str:
    """Leave out the middle of a long text: a conversation's end matters as a document's start."""
    line = " ".join(text[: 2 * LONGEST].split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN // 2]} … {line[-_SHOWN // 2 :]}"


def _warnings(
    values: Mapping[str, float], rivals: Mapping[str, Mapping[str, float]], headline: Headline
) -> list[str]:
    """Return what the user should not overlook, a sentence each."""
    warnings = []
    for name, own in rivals.items():
        if own[headline] >= values[headline] and own[headline] > 0:
            scores = (_figure(headline, score[headline]) for score in (values, own))
            warnings.append(f"no better than {name}: {headline} {' and '.join(scores)}")
    if values["empty"]:
        warnings.append(f"{values['empty']:.1%} of the texts written are empty")
    if values["repeated"] >= 0.05:
        warnings.append(
            f"{values['repeated']:.1%} of the texts written repeat four words three times or more "
            "(--no-repeat-ngram 4, or --repetition-penalty 1.2)"
        )
    return warnings


def lead(document: str, sentences: int = 1) -> str:
    """Return the first sentences of a document, a summary that is hard to beat for news.

    A sentence ends at ``. ! ?`` before white space and no small letter, at ``。！？``, and at a
    blank line. Of a document without any, the first 10,000 characters are returned.

    Example:
        >>> lead("Rain fell. Rivers rose.")
        'Rain fell.'
    """
    text = document[:LONGEST].strip()
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[sentences - 1]].strip() if len(ends) >= sentences else text
