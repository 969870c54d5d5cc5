"""A message cannot act on a terminal or flood it, whatever it quotes."""

import pickle

from hybrid_asr.common.errors import UserError


def test_control_characters_and_broken_ones_are_escaped():
    error = UserError("f.txt: '\x1b[2J\x07\u202e\ud800' is no word\nsecond line: größe, 日本\u3000語")
    assert str(error) == "f.txt: '\\x1b[2J\\x07\\u202e\\ud800' is no word\nsecond line: größe, 日本\u3000語"
    str(error).encode("utf-8")


def test_a_long_line_loses_its_middle():
    message = str(UserError("f.txt: '" + "x" * 5000 + "' is no word; correct it"))
    assert len(message) < 2000
    assert message.startswith("f.txt: 'xxx") and message.endswith("xxx' is no word; correct it")


def test_a_message_survives_its_way_between_processes():
    error = UserError("a\x00b" + "x" * 5000)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
