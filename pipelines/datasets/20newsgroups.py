"""20 Newsgroups: which newsgroup a message was posted to (English, 20 classes)."""  # noqa: N999

from __future__ import annotations

from pipelines.datasets._orange import TopicBuilder


class TwentyNewsgroups(TopicBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Usenet messages of 1993 by newsgroup, split by date, without duplicates.

    The texts are lower-cased, without digits and punctuation, their header lines partly kept.
    """

    # The file is named as the data set is; no statement can import it, pipelines.discover does.
    name = "20newsgroups"
    STEM = "20newsgroups"
    HOMEPAGE = "http://qwone.com/~jason/20Newsgroups/"
    DATA_LICENSE = "Data: public Usenet postings, no licence stated."
    CITATION = """\
@inproceedings{lang1995newsweeder,
  title = {NewsWeeder: Learning to Filter Netnews},
  author = {Lang, Ken},
  booktitle = {Proceedings of the 12th International Conference on Machine Learning},
  year = {1995}
}
"""
    TOPICS = (
        "alt.atheism",
        "comp.graphics",
        "comp.os.ms-windows.misc",
        "comp.sys.ibm.pc.hardware",
        "comp.sys.mac.hardware",
        "comp.windows.x",
        "misc.forsale",
        "rec.autos",
        "rec.motorcycles",
        "rec.sport.baseball",
        "rec.sport.hockey",
        "sci.crypt",
        "sci.electronics",
        "sci.med",
        "sci.space",
        "soc.religion.christian",
        "talk.politics.guns",
        "talk.politics.mideast",
        "talk.politics.misc",
        "talk.religion.misc",
    )
