"""The n-best oracle: by hand, and never above any choice."""

from hypothesis import given
from hypothesis import strategies as st

from hybrid_asr.scoring.align import ErrorCounts, count_errors
from hybrid_asr.scoring.nbest_oracle import oracle

TEXT = st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=4).map(" ".join)


def test_by_hand():
    found = oracle(["a b c", "d"], [["a b", "a x c", "a b c d e"], ["d"]], "word")
    assert found == ErrorCounts(substitutions=0, deletions=1, insertions=0, reference=4), "of equals the first"


@given(st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=4)), min_size=1, max_size=5))
def test_it_is_the_least_of_each(rows):
    references, nbests = [one for one, _ in rows], [several for _, several in rows]
    least = [
        min(count_errors(reference, text, "word").errors for text in texts)
        for reference, texts in zip(references, nbests, strict=True)
    ]
    found = oracle(references, nbests, "word")
    assert found.errors == sum(least)
    assert found.reference == sum(len(reference.split()) for reference in references)
