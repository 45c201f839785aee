"""Chat templates read off as strings, against what Jinja renders."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Template

from pipelines.encoding import chat
from pipelines.errors import UserError

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>' + messages[0]['content'] %}"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' }}"
    "{% if loop.first and system %}{{ system + '<</SYS>>' }}{% endif %}"
    "{{ message['content'] + ' [/INST]' }}{% else %}"
    "{{ ' '  + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TRIMS = (
    "{{ bos_token }}{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim + '\n' }}"
    "{% endfor %}"
)
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}"
    "<end_of_turn>\n{% endfor %}"
)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TURNS = st.lists(st.text(max_size=20).map(lambda text: f"x{text}x"), min_size=1, max_size=7)


def test_what_is_found_by_eye():
    assert chat.derive(SMOLLM2) == {
        "begin": "<|im_start|>system\nYou are helpful<|im_end|>\n",
        "user": ["<|im_start|>user\n", "<|im_end|>\n"],
        "assistant": ["<|im_start|>assistant\n", "<|im_end|>\n"],
        "system": ["<|im_start|>system\n", "<|im_end|>\n"],
    }
    assert chat.derive(LLAMA2, **TOKENS) == {
        "begin": "",
        "user": ["<s>[INST] ", " [/INST]"],
        "assistant": [" ", " </s>"],
    }
    assert "system" not in chat.derive(GEMMA, **TOKENS)  # it has none
    assert chat.derive(TRIMS, **TOKENS)["begin"] == "<s>"


@pytest.mark.parametrize("template", [SMOLLM2, LLAMA2, TRIMS])
@settings(max_examples=100, deadline=None)
@given(turns=TURNS)
def test_a_conversation_is_what_the_template_renders(template, turns):
    messages = [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]
    want = Template(template, keep_trailing_newline=True).render(messages=messages, **TOKENS)
    strings = chat.derive(template, **TOKENS)
    assert chat.concatenated(strings, turns) == want
    if "system" in strings:
        messages.insert(0, {"role": "system", "content": "Be kind."})
        want = Template(template, keep_trailing_newline=True).render(messages=messages, **TOKENS)
        assert chat.concatenated(strings, turns, "Be kind.") == want


def test_templates_that_strings_cannot_replace_are_refused():
    first_only = "{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}"
    with pytest.raises(UserError, match="puts more around a conversation"):
        chat.derive(first_only)
    for broken, message in {
        "{{ raise_exception('only one turn') }}": "only one turn",
        "{% for %}": "cannot be used",
        "{{ messages[0].content }}": "shows a turn 0 times",
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}": "a turn 2 times",
        "{{ messages.append(1) }}": "cannot be used",  # a stranger's program, in a sandbox
    }.items():
        with pytest.raises(UserError, match=message):
            chat.derive(broken)


def test_every_layout_is_read(tmp_path):
    assert chat.load(tmp_path) is None
    config = {"chat_template": LLAMA2, "bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert chat.load(tmp_path) == chat.derive(LLAMA2, **TOKENS)
    several = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": TRIMS}]
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**config, "chat_template": several})
    )
    assert chat.load(tmp_path) == chat.derive(TRIMS, **TOKENS)
    (tmp_path / "chat_template.jinja").write_text(SMOLLM2)
    assert chat.load(tmp_path) == chat.derive(SMOLLM2)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert chat.load(tmp_path) is None
    (tmp_path / "chat.json").write_text(json.dumps(chat.derive(SMOLLM2)))
    assert chat.load(tmp_path) == chat.derive(SMOLLM2)
    # Strings of before system prompts are read off again.
    old = {n: value for n, value in chat.derive(SMOLLM2).items() if n != "system"}
    (tmp_path / "chat.json").write_text(json.dumps(old))
    assert chat.load(tmp_path) == old
    (tmp_path / "chat_template.jinja").write_text(SMOLLM2)
    assert chat.load(tmp_path) == chat.derive(SMOLLM2)
    (tmp_path / "chat.json").write_text("{")
    with pytest.raises(UserError, match="is damaged: it is not JSON"):
        chat.load(tmp_path)
