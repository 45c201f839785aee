"""Write tiny_adapters.json: what Hugging Face's peft makes of the adapters of tiny_adapters.py.

Run once, in an environment of its own with torch, transformers and peft, with the folder of an
adapter that tfnlp wrote, or none:
``python tests/unit/backbones/tiny_adapters_reference.py [KIND ADAPTER]``.
"""

import json
import sys
import tempfile
from pathlib import Path

import peft
import tiny_adapters
import torch
import transformers

SHOWN = 4  # numbers of each state


def states(kind, adapter):
    """Return some hidden states, or logits, of a kind under an adapter, and without one."""
    ids = torch.tensor(tiny_adapters.IDS)
    with tempfile.TemporaryDirectory() as name:
        if kind == "llama":
            folder = tiny_adapters.write_llama(Path(name))
            model = transformers.AutoModelForCausalLM.from_pretrained(folder)
        else:
            folder = tiny_adapters.tiny_folders.write(kind, Path(name))
            model = transformers.AutoModel.from_pretrained(folder)
    model = model.eval()

    def found():
        with torch.no_grad():
            out = model(ids)
        out = out.logits if kind == "llama" else out.last_hidden_state
        return [round(x, 6) for x in out[..., :SHOWN].double().reshape(-1).tolist()]

    plain = found()
    model = peft.PeftModel.from_pretrained(model, str(adapter)).eval()
    return plain, found()


def main():
    """Write the file, or print what peft makes of another adapter."""
    if len(sys.argv) > 2:
        print(json.dumps(states(*sys.argv[1:])[1]))
        return
    made = {}
    for kind in tiny_adapters.LAYERS:
        with tempfile.TemporaryDirectory() as name:
            plain, adapted = states(kind, tiny_adapters.write(kind, Path(name)))
        assert plain != adapted
        made[kind] = adapted
    file = Path(__file__).with_name("tiny_adapters.json")
    file.write_text(json.dumps(made) + "\n", "utf-8")
    print(transformers.__version__, peft.__version__, torch.__version__)


if __name__ == "__main__":
    main()
