"""A chat template as fixed strings around the turns, so that a graph can put them there.

Templates are programs (Jinja), which no SavedModel runs. Those of most models do no more than put
the same strings around every turn; these are read off by rendering conversations whose texts are
known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pipelines.errors import UserError
from pipelines.json_files import read_json

TEMPLATE = "chat_template.jinja"
STRINGS = "chat.json"
_SYSTEM = "Fern-6"
_SPOKEN = ("Azure-1", "Bronze-2", "Coral-3", "Denim-4", "Ebony-5")  # in no template


Renderer: TypeAlias = Callable[..., str]  # (turns, system prompt) -> the conversation


def derive(template: str, **special_tokens: str) -> dict[str, Any]:
    """Return the fixed strings that a chat template puts around turns.

    Args:
        template: in Jinja, as Hugging Face's ``apply_chat_template`` renders it.
        special_tokens: what the template may refer to, such as ``bos_token="<s>"``.

    Returns:
        ``{"begin": text before the first turn, "user": [before, after], "assistant": [before,
        after]}``. A conversation is its begin, and each turn between its two strings; an answer
        is asked for by what stands before an assistant's turn. If the template has a place for a
        system prompt, also ``"system": [before, after]``: that and the prompt in place of begin.

    Raises:
        UserError: the template does more than that, or fails.

    Example:
        >>> template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
        >>> template += "{% if add_generation_prompt %}<assistant>{% endif %}"
        >>> derive(template)["user"]
        ['<user>', '</s>']
    """
    render = _renderer(template, special_tokens)
    first, answer, second = _SPOKEN[:3]
    try:
        _, after_user = _around(render([first]), first)
        _, after_assistant = _around(render([first, answer]), answer)
        whole = render([first, answer, second])
        start, rest = _around(whole, first)
        turn, rest = _around(rest, answer)
        before_user = _around(rest, second)[0].removeprefix(after_assistant)
        found = {
            "begin": start.removesuffix(before_user),
            "user": [before_user, after_user],
            "assistant": [turn.removeprefix(after_user), after_assistant],
        }
        same = all(
            render(_SPOKEN[:count]) == concatenated(found, _SPOKEN[:count])
            for count in range(1, len(_SPOKEN) + 1)
        )
    except ValueError as error:
        raise UserError(f"the chat template cannot be used: {error}") from error
    if not same:
        raise UserError(
            "the chat template puts more around a conversation than the same strings around every "
            "turn, which a served model cannot do (take a backbone with a simpler one)"
        )
    system = _around_system(render, found)
    return {**found, "system": system} if system else found


def _around_system(render: Renderer, found: dict[str, Any]) -> list[str] | None:
    """Return what stands before and after a system prompt; None if there is no place for one."""
    try:
        before, rest = _around(render(_SPOKEN[:1], _SYSTEM), _SYSTEM)
        after = _around(rest, _SPOKEN[0])[0]
        strings = {**found, "system": [before, after.removesuffix(found["user"][0])]}
        same = all(
            render(_SPOKEN[:count], _SYSTEM) == concatenated(strings, _SPOKEN[:count], _SYSTEM)
            for count in range(1, len(_SPOKEN) + 1)
        )
    except ValueError:  # it refuses one
        return None
    return strings["system"] if same else None


def concatenated(strings: dict[str, Any], turns: Sequence[str], system: str = "") -> str:
    """Return a conversation, the user's turn first, in the format that :func:`derive` found.

    Example:
        >>> strings = {"begin": "<s>", "user": ["Q: ", " "], "assistant": ["A: ", "</s>"]}
        >>> concatenated(strings, ["Hi!", "Hello."])
        '<s>Q: Hi! A: Hello.</s>'
    """
    roles = (("user", "assistant")[i % 2] for i in range(len(turns)))
    spoken = (turn.join(strings[role]) for turn, role in zip(turns, roles, strict=False))
    begin: str = system.join(strings["system"]) if system else strings["begin"]
    return begin + "".join(spoken)


def load(folder: Path) -> dict[str, Any] | None:
    r"""Return the strings of a model's chat template.

    Args:
        folder: with chat.json, or in Hugging Face layout (chat_template.jinja, or chat_template
            in tokenizer_config.json).

    Returns:
        As :func:`derive`; None if the model has no template, or one that strings cannot replace.

    Raises:
        UserError: a file of these is not JSON.

    Example::

        load(Path("smollm2"))["assistant"]  # ["<|im_start|>assistant\n", "<|im_end|>\n"]
    """
    held = _json(folder / STRINGS)
    if "system" in held or (held and not (folder / TEMPLATE).exists()):
        return held
    config = _json(folder / "tokenizer_config.json")
    template = config.get("chat_template")
    if isinstance(template, list):  # several, by name
        template = next((t["template"] for t in template if t["name"] == "default"), None)
    if (folder / TEMPLATE).exists():
        template = (folder / TEMPLATE).read_text("utf-8")
    if template is None:
        return None
    # Strings that were written when none were for system prompts are read off again.
    tokens = {key: value for key, value in config.items() if key.endswith("_token") and value}
    named = {k: v["content"] if isinstance(v, dict) else str(v) for k, v in tokens.items()}
    try:
        return derive(template, **named)
    except UserError:  # the model still serves for what is no conversation
        return held or None


def _renderer(template: str, special_tokens: dict[str, str]) -> Renderer:
    """Return a function from alternating turns to text; it raises ValueError."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    # The settings of Hugging Face's apply_chat_template: a template is a stranger's program.
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.globals["raise_exception"] = refuse

    def render(turns: Sequence[str], system: str = "") -> str:
        messages = [
            {"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)
        ]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        try:
            made = sandbox.from_string(template)
            return str(made.render(messages=messages, **special_tokens))
        except (TemplateError, TypeError) as error:
            raise ValueError(str(error)) from error

    return render


def _around(text: str, inside: str) -> tuple[str, str]:
    """Return what stands before and after a text that is there once."""
    if text.count(inside) != 1:
        raise ValueError(f"it shows a turn {text.count(inside)} times")
    before, _, after = text.partition(inside)
    return before, after


def _json(file: Path) -> dict[str, Any]:
    """Read a JSON file; {} if there is none."""
    return read_json(file) if file.exists() else {}
