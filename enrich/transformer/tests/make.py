"""Makes the tiny models of the tests, and what the Python implementation answers with them.

    pip install torch transformers tokenizers safetensors
    python3 enrich/transformer/tests/make.py

`models/single` and `models/multi` are folders as Hugging Face gives them, of RoBERTa with random weights: two layers of
24, 64 tokens. Their answers mean nothing, but each depends on all that real ones depend on. `expected.json` has the texts,
their token ids and their probabilities from `transformers`, in batches, with padding. Weights are drawn from a seed; another
version of PyTorch may draw others, so the models are committed together with the answers.
"""

import json
import shutil
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
FOLDERS = {
    # Of a seed with which each label is some text's likeliest.
    "single": {"labels": ["anger", "joy", "neutral"], "problem_type": None, "dtype": torch.float32, "seed": 11},
    # Kept in half precision, as many published models are.
    "multi": {"labels": ["anger", "fear", "joy", "surprise"], "problem_type": "multi_label_classification", "dtype": torch.float16, "seed": 4},
}
TOKENS_MAX = 64
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]

TEXTS = [
    "I love this phone, it is the best thing that I have bought all year!",
    "I hate waiting. Three weeks and still no answer.",
    "ok",
    "",
    " ",
    " \t\n  ",
    "a",
    "A",
    "The delivery came on Tuesday.",
    "  leading and trailing spaces  ",
    "two\nlines\r\nand a third",
    "😀",
    "so happy 😀😀😀 with 👩‍👩‍👧‍👦 and 🇩🇪",
    "👍🏽 thanks",
    "これはとても良い製品です。",
    "我非常喜欢这个产品，但是送货太慢了",
    "정말 좋아요",
    "Это было ужасно",
    "هذا رائع جدا",
    "שלום עולם",
    "ça coûte cher à Noël, n'est-ce pas ?",
    "cafe\u0301 and caf\u00e9",
    "https://example.org/path?query=1&other=two#fragment",
    "look at this: http://t.co/abc123 @someone #tag $TSLA",
    "@user @user @user",
    "I'm sure they're what we've asked for, isn't it?",
    "WHY IS EVERYTHING IN CAPITALS???!!!",
    "1234567890 12.50 € 50 % 1e-9",
    "!!!???...",
    "<s> </s> <pad> <mask> <unk>",
    "a <mask> in the middle",
    "</s></s>",
    "zero\u200bwidth\ufeff and soft\u00adhyphen",
    "null \u0000 byte",
    "tabs\tbetween\twords",
    "x" * 500,
    "word " * 200,
    "😀 " * 100,
    "long " * 61 + "to the last token",
    "The service was not good, not bad, and the staff tried. Would I come again? Perhaps, if it were cheaper, "
    "closer, quieter, warmer, and if somebody answered the telephone before the third attempt on a working day.",
    '{"text": "quoted \\"json\\" in a text"}',
    "SELECT * FROM t; -- and code() { return 1; }",
    "\U0001f1e6\U0001f1e7\u0301\u20e3 \ud7ff \uffff \U0010ffff",
]


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator([text for text in TEXTS if len(text) < 200] * 2, trainer)
    # As RobertaTokenizerFast has it.
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return made


def make(name: str, labels: list[str], problem_type: str | None, dtype: torch.dtype, seed: int) -> dict:
    folder = HERE / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(), model_max_length=TOKENS_MAX, bos_token="<s>", eos_token="</s>", sep_token="</s>",
        cls_token="<s>", unk_token="<unk>", pad_token="<pad>", mask_token="<mask>",
    )
    config = transformers.RobertaConfig(
        vocab_size=len(fast), hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48,
        max_position_embeddings=TOKENS_MAX + 2, type_vocab_size=1, layer_norm_eps=1e-5,
        # Large, so that a mistake anywhere shows in the answers.
        initializer_range=0.4,
        id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)}, problem_type=problem_type,
    )
    torch.manual_seed(seed)
    model = transformers.RobertaForSequenceClassification(config)
    # Biases begin at zero and scales of norms at one; a trained model has neither.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.to(dtype).save_pretrained(folder, safe_serialization=True)
    fast.save_pretrained(folder)
    # Not needed to classify, and different with every version.
    for extra in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / extra).unlink(missing_ok=True)

    model = transformers.RobertaForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    answers = []
    with torch.no_grad():
        for start in range(0, len(TEXTS), 10):
            batch = fast(TEXTS[start : start + 10], padding=True, truncation=True, max_length=TOKENS_MAX, return_tensors="pt")
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            if problem_type == "multi_label_classification":
                probabilities = torch.sigmoid(logits)
            else:
                probabilities = torch.softmax(logits, dim=-1)
            for ids, mask, row in zip(batch["input_ids"], batch["attention_mask"], probabilities):
                answers.append({"ids": ids[mask == 1].tolist(), "probabilities": row.tolist()})
    return {"labels": labels, "answers": answers}


def main() -> None:
    expected = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
        "texts": TEXTS,
    }
    for name, settings in FOLDERS.items():
        expected[name] = make(name, **settings)
    (HERE / "expected.json").write_text(json.dumps(expected, separators=(",", ":"), ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
