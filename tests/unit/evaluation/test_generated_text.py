from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_score.rouge_scorer import RougeScorer
from scipy.stats import spearmanr

from tfnlp.evaluation import generated_text, language_modeling
from tfnlp.report import Report, png

SETTINGS = settings(deadline=None, max_examples=50)  # the machine may be busy
ANY = st.text(max_size=40)

TEXTS = [
    "The cat sat on the mat.",
    "He was running to the station, and it rained.",
    "What is it that you want to see in the city?",
    "",
]
REFERENCES = [
    ["A cat sat on the mat.", "The cat is sitting on the mat."],
    ["He ran to the station in the rain."],
    ["What do you want to see in town?", "What is it you wish to see in the town?"],
    ["This is the last of the sentences."],
]
SPANISH = [["El niño comió una manzana ayer."], ["La montaña está muy lejos de aquí."]]
CHINESE = [["今天天气很好，我们去公园。"], ["他昨天没有来上课。"]]


@pytest.fixture(autouse=True)
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def check(report: Report, folder) -> None:
    """Look at the form of a report and draw its pictures."""
    for table in report.tables:
        assert all(len(row) == len(table.header) for row in table.rows)
    assert all(isinstance(value, float) for value in report.metrics.values())
    for name, figure in report.figures.items():
        path = folder / f"{name}.png"
        path.write_bytes(png(figure()))
        assert path.read_bytes().startswith(b"\x89PNG")


# Against references


def test_bleu_and_chrf_equal_sacrebleu():
    streams = [
        [row[0] for row in REFERENCES],
        [row[1] if len(row) > 1 else None for row in REFERENCES],
    ]
    expected = sacrebleu.corpus_bleu(TEXTS, streams).score
    assert 10 < expected < 90
    assert generated_text.bleu(TEXTS, REFERENCES) == pytest.approx(expected)
    assert generated_text.chrf(TEXTS, REFERENCES) == pytest.approx(
        sacrebleu.corpus_chrf(TEXTS, streams).score
    )
    each = [
        sacrebleu.sentence_chrf(text, row).score
        for text, row in zip(TEXTS, REFERENCES, strict=True)
    ]
    assert generated_text.each_chrf(TEXTS, REFERENCES) == pytest.approx(each)


def test_english_rouge_equals_rouge_score_with_stemming():
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    each = [scorer.score_multi(row, text) for text, row in zip(TEXTS, REFERENCES, strict=True)]
    expected = {name: np.mean([row[name].fmeasure for row in each]) for name in each[0]}
    assert generated_text.rouge(TEXTS, REFERENCES) == pytest.approx(expected)
    stemmed = generated_text.rouge(
        ["He was running to the cities"], [["He was to run to the city"]]
    )
    assert stemmed["rouge1"] == pytest.approx(12 / 13)  # 6 of 6 and of 7 words


def test_other_languages_keep_their_letters_and_are_not_stemmed():
    found = generated_text.rouge(["El niño comió una pera.", "La montaña"], SPANISH)
    # 4 of 5 and of 6 words are right; 2 of 2 and of 7.
    assert found["rouge1"] == pytest.approx((8 / 11 + 4 / 9) / 2)
    assert generated_text.rouge(["los gatos"], [["los gato"]])["rouge1"] == pytest.approx(0.5)


def test_chinese_is_compared_by_character():
    texts = ["今天天气好，我们去公园。", "他昨天来上课了。"]
    expected = sacrebleu.corpus_bleu(texts, [[row[0] for row in CHINESE]], tokenize="zh").score
    assert expected > 20
    assert generated_text.bleu(texts, CHINESE) == pytest.approx(expected)
    found = generated_text.rouge(["天气好"], [["天气很好！"]])
    assert found["rouge1"] == pytest.approx(6 / 7)  # 3 of 3 and of 4 characters
    assert found["rouge2"] == pytest.approx(2 / 5)  # 1 of 2 and of 3
    assert generated_text.bleu(["これはペンです。"], [["これはペンです。"]]) == pytest.approx(100)


def test_words_of_any_script():
    assert generated_text.words("Don't panic, 42!") == ["Don", "'", "t", "panic", ",", "42", "!"]
    assert generated_text.words("我爱NLP😀。", punctuation=False) == ["我", "爱", "NLP", "😀"]
    assert generated_text.words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert generated_text.words("cafe\u0301 \x00\ud800") == ["cafe\u0301"]


@pytest.mark.parametrize("references", [[["a"]], [[""]], [[]], [["你好"]], [["😀"]]])
@pytest.mark.parametrize("text", ["", " \n", "。", "\x00"])
def test_a_model_that_writes_nothing_gets_nothing(text, references):
    assert generated_text.bleu([text], references) == 0
    assert generated_text.chrf([text], references) == 0
    assert set(generated_text.rouge([text], references).values()) == {0}


def test_no_rows_at_all_score_nothing(tmp_path):
    assert (
        generated_text.bleu([], [])
        == generated_text.chrf([], [])
        == generated_text.distinct([], 1)
        == 0
    )
    assert generated_text.rouge([], []) == {"rouge1": 0, "rouge2": 0, "rougeL": 0}
    assert generated_text.self_bleu([]) == generated_text.bleu_against([], ["a"], 2) == 0
    assert generated_text.bleu_against(["a"], [], 2) == 0
    check(generated_text.report([], [], [], headline="bleu", baselines={"copy": []}), tmp_path)


@SETTINGS
@given(st.lists(ANY, min_size=1, max_size=4), st.data())
def test_scores_of_any_texts_are_within_their_range(texts, data):
    many = st.lists(ANY, max_size=3)
    references = data.draw(st.lists(many, min_size=len(texts), max_size=len(texts)))
    flat = [one for row in references for one in row]
    hundred = [
        generated_text.bleu(texts, references),
        generated_text.chrf(texts, references),
        generated_text.self_bleu(texts),
        generated_text.bleu_against(texts, flat, 3),
    ]
    unit = [*generated_text.rouge(texts, references).values(), generated_text.distinct(texts, 2)]
    assert all(0 <= value <= 100 + 1e-9 for value in hundred)
    assert all(0 <= value <= 1 + 1e-9 for value in unit)


@SETTINGS
@given(st.lists(ANY, min_size=1, max_size=4))
def test_identical_texts_score_full_marks(texts):
    texts = [f"{text} one two three four" for text in texts]
    references = [["another", text] for text in texts]
    assert generated_text.bleu(texts, references) == pytest.approx(100)
    assert generated_text.chrf(texts, references) == pytest.approx(100)
    assert generated_text.rouge(texts, references) == pytest.approx(
        {"rouge1": 1, "rouge2": 1, "rougeL": 1}
    )
    assert generated_text.self_bleu([texts[0], texts[0]]) == pytest.approx(100)
    assert generated_text.bleu_against(texts, texts, 4) == pytest.approx(100)


@pytest.mark.timeout(120)  # uncut, the longest common subsequence alone would take hours
@pytest.mark.parametrize("piece", ["y", "的", "the cat ", "! ", "a\n\nb. "])
def test_an_endless_line_costs_no_minutes(piece):
    text = piece * (100_000 // len(piece))
    generated_text.report([text], [[text]], [text], headline="rougeL", baselines={"copy": [text]})
    generated_text.report([text], [["The end of it."]], [text], headline="rougeL", baselines={})
    generated_text.self_bleu([text, text])
    generated_text.lead(text)


def test_an_endless_word_of_english_is_stemmed():
    text = "the end of the " + "y" * 5_000
    assert generated_text.rouge([text], [[text]])["rouge1"] == 1


# Against one another


def test_distinct_n_grams_are_counted():
    texts = ["a b a b", "a b c", ""]
    assert generated_text.distinct(texts, 1) == 3 / 7
    assert generated_text.distinct(texts, 2) == 3 / 5  # ab ba ab, ab bc
    assert generated_text.distinct(texts, 9) == 0
    assert generated_text.distinct(["我我你"], 1) == 2 / 3


def test_self_bleu_equals_that_of_nltk():
    texts = [
        "the cat sat on the mat",
        "the cat sat on a red mat today",
        "a dog sat on the mat",
        "one two three four five",
        "the the the the the cat",
    ]
    split = [text.split() for text in texts]
    smooth = SmoothingFunction().method1
    for n in (2, 3, 4):
        weights = (1 / n,) * n
        each = [
            sentence_bleu(split[:i] + split[i + 1 :], row, weights, smooth)
            for i, row in enumerate(split)
        ]
        assert generated_text.self_bleu(texts, n) == pytest.approx(100 * np.mean(each))
        against = [sentence_bleu(split[1:4], row, weights, smooth) for row in split]
        assert generated_text.bleu_against(texts, texts[1:4], n) == pytest.approx(
            100 * np.mean(against)
        )


def test_self_bleu_of_nothing_alike_and_of_one_text():
    assert generated_text.self_bleu(["a b c", "d e f"]) == 0
    assert generated_text.self_bleu(["yes", "yes"]) == pytest.approx(100)
    assert generated_text.self_bleu(["yes"]) == generated_text.self_bleu([""]) == 0


def test_self_bleu_of_many_texts_is_of_a_sample_drawn_by_the_seed():
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(list("abcdef"), 8)) for _ in range(60)]
    found = [generated_text.self_bleu(texts, 2, sample=20, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


# Likelihood


def test_perplexity_counts_what_the_caller_counts():
    assert language_modeling.perplexity_per_word(math.log(8), 3) == pytest.approx(2)
    assert language_modeling.perplexity_per_word(0.0, 0) == 1
    assert language_modeling.perplexity_per_word(1e6, 1) == math.inf


def test_a_language_model_by_hand(tmp_path):
    # Six tokens of two bits each: four words of three characters each.
    loss = np.array([2, 4, 0], "float32") * 2 * math.log(2)
    report = language_modeling.language_model(loss, np.array([2, 4, 0]), words=4, characters=12)
    assert report.metrics == pytest.approx(
        {
            "perplexity": 4,
            "perplexity_per_word": 8,
            "bits_per_character": 1,
            "tokens_per_word": 1.5,
            "loss": 2 * math.log(2),
        }
    )
    check(report, tmp_path)
    check(language_modeling.language_model(np.zeros(1), np.zeros(1, int), 0, 0), tmp_path)


# Lead


@pytest.mark.parametrize(
    ("document", "sentences", "expected"),
    [
        ("One. Two. Three.", 1, "One."),
        ("One. Two! Three?", 2, "One. Two!"),
        (
            "It cost 3.50 in the U.S. last year. Then it fell.",
            1,
            "It cost 3.50 in the U.S. last year.",
        ),
        ("Mr. J. Smith met Dr. Who. They spoke.", 1, "Mr. J. Smith met Dr. Who."),
        ('He said "No!" and left. She stayed.', 1, 'He said "No!" and left.'),
        ('He said "No." She stayed.', 1, 'He said "No."'),
        ("今天下雨。我们在家！好吗？", 2, "今天下雨。我们在家！"),
        ("他说：“好。”然后走了。", 1, "他说：“好。”"),
        ("Part A\n\nIt begins here. Then", 1, "Part A"),
        ("One. \n\n\n\nTwo. Three.", 2, "One. \n\n\n\nTwo."),
        ("no end at all", 1, "no end at all"),
        ("  One.  ", 3, "One."),
        ("", 1, ""),
        ("x" * 20_000, 1, "x" * 10_000),
    ],
)
def test_the_lead_of_a_document(document, sentences, expected):
    assert generated_text.lead(document, sentences) == expected


# Reports


def test_a_report_of_generated_texts(tmp_path):
    sources = ["Le chat", "Il courait", "Que veux-tu voir", "Dernier"]
    scores = np.array([-0.1, -0.5, -0.4, -9.0], "float32")
    report = generated_text.report(
        TEXTS,
        REFERENCES,
        sources,
        headline="rougeL",
        baselines={"copy": sources, "oracle": [row[0] for row in REFERENCES]},
        scores=scores,
        tokens=np.array([7, 11, 12, 0]),
        likelihood=(math.log(2) * 60, 30, 20),
    )
    expected = {
        **generated_text.rouge(TEXTS, REFERENCES),
        "bleu": generated_text.bleu(TEXTS, REFERENCES),
        "chrf": generated_text.chrf(TEXTS, REFERENCES),
        "distinct_1": generated_text.distinct(TEXTS, 1),
        "distinct_2": generated_text.distinct(TEXTS, 2),
        "empty": 0.25,
        "repeated": 0,
        "mean_tokens": 7.5,
        "perplexity": 4,
        "perplexity_per_word": 8,
        "score_correlation": spearmanr(scores, generated_text.each_chrf(TEXTS, REFERENCES))[0],
    }
    assert {name: report.metrics[name] for name in expected} == pytest.approx(expected)
    assert next(iter(report.metrics)) == "rougeL"
    baselines, samples = report.tables
    assert [row[0] for row in baselines.rows] == ["the model", "copy", "oracle"]
    assert baselines.header[1] == "rougeL"
    assert baselines.rows[2][1] == "1.000"
    assert samples.header == ("source", "reference", "generated")
    assert samples.rows[0] == ("Le chat", " || ".join(REFERENCES[0]), TEXTS[0])
    assert report.warnings == [
        f"no better than oracle: rougeL {report.metrics['rougeL']:.3f} and 1.000",
        "25.0% of the texts written are empty",
    ]
    check(report, tmp_path)


def test_the_ratio_of_lengths_is_that_of_sacrebleu():
    report = generated_text.report(
        ["a b c", "d"], [["a b"], ["d e f"]], None, headline="bleu", baselines={}
    )
    assert report.metrics["length_ratio"] == pytest.approx(4 / 5)
    assert report.tables[1].header == ("reference", "generated")


def test_loops_are_counted_and_warned_of():
    texts = ["well, " + "I do not know " * 3, "I do not know. I do not know.", "ha " * 6, "fine"]
    report = generated_text.report(
        texts, [["fine"]] * 4, None, headline="chrf", baselines={"first": ["no"] * 4}
    )
    assert report.metrics["repeated"] == 0.5
    assert "50.0% of the texts written repeat four words" in report.warnings[0]


def test_samples_are_spread_evenly_and_cut_in_their_middle():
    texts = [f"{i} " + "x" * 500 + " end" for i in range(100)]
    report = generated_text.report(
        texts, [[t] for t in texts], texts, headline="bleu", baselines={}
    )
    rows = report.tables[1].rows
    assert [int(row[0].split()[0]) for row in rows] == [0, 14, 28, 42, 57, 71, 85, 99]
    assert all(len(cell) < 210 and cell.endswith("end") for row in rows for cell in row)


@pytest.mark.parametrize("text", ["fine", "", "你好", "😀" * 5, "a\nb|c", "العربية", "\x00"])
def test_one_row_of_any_kind_can_be_reported(text, tmp_path):
    report = generated_text.report(
        [text],
        [["fine"]],
        [text],
        headline="chrf",
        baselines={"copy": [text]},
        scores=np.array([-math.inf]),
        tokens=np.array([0]),
        likelihood=(0.0, 0, 0),
    )
    assert math.isnan(report.metrics["score_correlation"])
    check(report, tmp_path)
