#!/usr/bin/env python3
"""Turns LiteLLM's public list of model prices into the table that Weir has built in.

    tools/prices.py MODEL_PRICES.json VERSION DATE > src/meter/price/built_in.tsv

MODEL_PRICES.json is the file `litellm/model_prices_and_context_window_backup.json` of a release of the
package `litellm` (`make prices` takes it from there), VERSION is that release, DATE the day on which it was
taken, as 2026-11-22. Only facts are carried over: names, prices, and the longest input and output.

One line a model, sorted by name, so that a newer table is a readable diff:

    name <TAB> =part                         costs exactly what the model does that is a part of its name
    name <TAB> key=value key=value ...       dollars per million tokens, exact decimals

Keys: `in`, `read` and `write` and `write1h` (of a cache), `audio`, `image`, `out`, `think` (reasoning),
`speech` and
`picture` (output of sound and of pictures); before them `flex.`, `priority.`, `batch.` or `ultrafast.` for a service tier, and
before that `>200000.` for requests whose whole input is longer than so many tokens. `search` is dollars per
search of the web; `max_in` and `max_out` are tokens. The name `*` is the ceiling: class by class the dearest
standard price for inputs of usual length among text models that are still offered on DATE.

Left out: what the list has at no charge (mostly experiments, or a price that nobody knew: an unknown model is
not free), cached input and cache writes at nothing (they cost what input does then), prices of committed
capacity, and every row that a lookup finds without it: Weir takes known hosts off the front of a name and a
date off its end, so a row that says the same as the shorter name's is not needed. The hosts stand in the
table's header, where Weir reads them.

A host's model has two names, with the host (`groq/x`) and without it (`x`), since answers name the model
only. Where hosts differ on the price of one name, the name costs what it does at its maker, and where the
maker has no price or is not known, class by class what it costs at the dearest host: never less than it may.
"""

import json
import re
import sys
from decimal import Decimal

# Whose list entries are taken: makers and hosts whose answers a gateway commonly meets.
PROVIDERS = set(
    """openai text-completion-openai anthropic azure azure_ai azure_text bedrock bedrock_converse bedrock_mantle
    vertex_ai vertex_ai-language-models vertex_ai-anthropic_models vertex_ai-mistral_models
    vertex_ai-llama_models vertex_ai-embedding-models vertex_ai-ai21_models vertex_ai-deepseek_models
    vertex_ai-qwen_models vertex_ai-zai_models vertex_ai-openai_models vertex_ai-minimax_models
    vertex_ai-moonshot_models gemini mistral codestral text-completion-codestral deepseek xai cohere cohere_chat groq cerebras
    together_ai perplexity moonshot zai dashscope minimax ai21 amazon_nova meta voyage
    """.split()
)
MODES = {"chat", "responses", "completion", "embedding", "realtime", "image_generation"}
# Whose price counts when hosts differ: the beginning of a name, and how its maker is called in the list.
MAKERS = [
    (r"gpt-|chatgpt-|o\d|text-embedding-|ft:|davinci|babbage|codex|computer-use", {"openai", "text-completion-openai"}),
    (r"claude-", {"anthropic"}),
    (r"gemini-|gemma-", {"gemini"}),
    (r"mistral-|ministral-|codestral-|magistral-|devstral-|pixtral-|voxtral-|open-mi", {"mistral"}),
    (r"deepseek-", {"deepseek"}),
    (r"grok-", {"xai"}),
    (r"command-|c4ai-|embed-", {"cohere", "cohere_chat"}),
    (r"sonar", {"perplexity"}),
    (r"kimi-|moonshot-", {"moonshot"}),
    (r"glm-", {"zai"}),
    (r"qwen|qwq", {"dashscope"}),
    (r"minimax-", {"minimax"}),
    (r"jamba-", {"ai21"}),
    (r"voyage-", {"voyage"}),
]
# First segments of a name that say where a model runs: the list's own, and those of gateways.
HOSTS = """ai21 amazon-nova amazon_nova anthropic azure azure_ai bedrock bedrock_mantle cerebras codestral cohere dashscope
    deepseek gemini google groq meta minimax mistral mistralai models moonshot openai perplexity
    text-completion-codestral together_ai vertex_ai voyage x-ai xai zai""".split()
# Names of no model: a region, or capacity that is paid by the month.
NO_MODEL = r"(.*/)?([a-z]{2}(-gov)?-[a-z]+-\d|\d+-month-commitment|\*)/|\*|sample_spec"
DATED = r"(.+?)(?:-\d{4}-\d\d-\d\d|[-@]20\d{6})$"
CLASSES = [
    ("input_cost_per_token", "in"),
    ("cache_read_input_token_cost", "read"),
    ("cache_creation_input_token_cost", "write"),
    ("cache_creation_input_token_cost_above_1hr", "write1h"),
    ("input_cost_per_audio_token", "audio"),
    ("input_cost_per_image_token", "image"),
    ("output_cost_per_token", "out"),
    ("output_cost_per_reasoning_token", "think"),
    ("output_cost_per_audio_token", "speech"),
    ("output_cost_per_image_token", "picture"),
]
TIERS = [("", ""), ("_flex", "flex."), ("_priority", "priority."), ("_batches", "batch."), ("_ultrafast", "ultrafast.")]
MILLION = Decimal(1_000_000)
FINEST = Decimal("0.000000001")


def million(per_token):
    """Dollars per million tokens, no finer than a nano-dollar. Their float noise is far below that."""
    price = Decimal(per_token) * MILLION
    if price < 0:
        raise ValueError("a price is not negative")
    # Rounded to 8 digits first: 2.9999969e-05 is a price, 1.2499999999999999e-06 is noise.
    return (+price.normalize()).quantize(FINEST) if price else Decimal(0)


def plain(number):
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def levels(entry):
    """Lengths of input above which other prices hold, with the name's part for each; 0 is the base."""
    found = {0: ""}
    for field in entry:
        match = re.search(r"_above_(\d+)k_tokens", field)
        if match:
            found[int(match[1]) * 1000] = match[0]
    return sorted(found.items())


def rates(entry):
    """All prices per token of one entry: {key: dollars per million}."""
    found = {}
    for above, part in levels(entry):
        for suffix, tier in TIERS:
            for field, name in CLASSES:
                value = entry.get(field + part + suffix)
                if value is not None:
                    level = f">{above}." if above else ""
                    found[level + tier + name] = million(value)
    # Some list price by price what others name by suffix: ranges of the whole input.
    for step in entry.get("tiered_pricing") or []:
        if "range" not in step:
            continue
        above = int(Decimal(step["range"][0]))
        for field, name in CLASSES:
            if field in step:
                found[(f">{above}." if above else "") + name] = million(step[field])
    return found


def fields(entry):
    """All facts of one entry; none when it has no price for text."""
    found = rates(entry)
    if entry.get("mode") == "embedding":
        found = {key: value for key, value in found.items() if not key.endswith("out")}
        found["out"] = Decimal(0)
    if entry.get("mode") == "image_generation" and "out" not in found and "picture" in found:
        found["out"] = found["picture"]
    found = {key: value for key, value in found.items() if value or not re.search(r"(read|write|write1h)$", key)}
    free = [key for key, value in found.items() if not value and key != "out"]
    if free or "in" not in found or (not found.get("out") and entry.get("mode") != "embedding"):
        return None
    # Reasoning at the price of output follows it, also where a tier's list forgets to say so.
    if all(value == found.get(key[:-5] + "out") for key, value in found.items() if key.endswith("think")):
        found = {key: value for key, value in found.items() if not key.endswith("think")}
    for tier in [name for _, name in TIERS if name]:
        # A tier of which only a part is known would be charged too little for the rest.
        if (tier + "in" in found) != (tier + "out" in found) and found["out"]:
            found = {key: value for key, value in found.items() if tier not in key}
    # The dearest size of a search, and only where something is charged for it.
    search = entry.get("search_context_cost_per_query")
    if isinstance(search, dict) and any(search.values()):
        found["search"] = max(Decimal(value) for value in search.values())
    for field, name in [("max_input_tokens", "max_in"), ("max_output_tokens", "max_out")]:
        try:
            number = int(Decimal(str(entry.get(field))))
        except ArithmeticError:
            continue
        if 0 < number < 2**32:
            found[name] = Decimal(number)
    return found


def names(key):
    """The names under which a model may be met, lower case: as listed, then without the host."""
    name = key.lower()
    yield name
    host, slash, rest = name.partition("/")
    if slash and host in HOSTS and not re.match(r"(eu|us|global|global-standard|claude_platform)/", rest):
        yield rest


def dearest(all_fields):
    """What is never less than any of them, price by price; the shortest of the limits."""
    merged = {}
    for one in all_fields:
        for key, value in one.items():
            known = merged.get(key)
            pick = min if key.startswith("max_") else max
            merged[key] = value if known is None else pick(known, value)
    # A discount that one host gives is not given by all.
    for key in list(merged):
        if re.match(r"(>\d+\.)?(flex|batch)\.|(>\d+\.)?read$", key) and not all(key in one for one in all_fields):
            del merged[key]
    return merged


def choose(name, offers):
    """What a name costs that several providers have."""
    makers = next((who for start, who in MAKERS if re.match(start, name)), set())
    own = [found for provider, found in offers if provider in makers]
    return dearest(own or [found for _, found in offers])


def ceiling(entries, date):
    """Class by class the dearest standard price among text models that are still offered."""
    classes = {name for _, name in CLASSES} | {"search"}
    offered = [
        found
        for entry, found in entries
        if entry.get("mode") in {"chat", "responses"} and str(entry.get("deprecation_date") or "9999") > date
    ]
    top = {name: max((found.get(name, Decimal(0)) for found in offered), default=Decimal(0)) for name in classes}
    # What is no dearer than the class that it falls back to needs no price.
    parents = {"read": "in", "write": "in", "audio": "in", "image": "in", "think": "out", "speech": "out", "picture": "out"}
    return {name: price for name, price in top.items() if price > top.get(parents.get(name), 0)}


def order(key):
    level = re.match(r">(\d+)\.", key)
    rest = key[level.end() :] if level else key
    tiers = [name for _, name in TIERS]
    tier = next((name for name in tiers if name and rest.startswith(name)), "")
    last = [name for _, name in CLASSES] + ["search", "max_in", "max_out"]
    place = last.index(rest[len(tier) :])
    return (place >= len(CLASSES), int(level[1]) if level else 0, tiers.index(tier), place)


def line(found):
    return " ".join(f"{key}={plain(found[key])}" for key in sorted(found, key=order))


def table(listed, date):
    offers, entries = {}, []
    for key, entry in listed.items():
        if entry.get("litellm_provider") not in PROVIDERS or entry.get("mode") not in MODES:
            continue
        found = fields(entry)
        # What cannot stand in a line has no place in it.
        if found is None or not re.fullmatch(r"[!-~]{1,200}", key) or re.match(NO_MODEL, key):
            continue
        entries.append((entry, found))
        for name in names(key):
            offers.setdefault(name, []).append((entry["litellm_provider"], found))
    rows = {name: line(choose(name, of)) for name, of in offers.items()}
    rows["*"] = line(ceiling(entries, date))
    return pruned(rows)


def pruned(rows):
    """All rows without which some name would cost something else."""
    kept = {name: row for name, row in rows.items() if not may_go(name, rows)}
    while wrong := [name for name, row in rows.items() if found(name, kept) != row]:
        kept.update((name, rows[name]) for name in wrong)
    return kept


def may_go(name, rows):
    # Names with the dots of Bedrock are taken apart in more ways than here.
    shorter = [without for without in shortened(name) if without != name]
    return not re.match(r"[a-z-]+\.[a-z]", name) and any(rows.get(without) == rows[name] for without in shorter)


def found(name, rows):
    return next((rows[without] for without in shortened(name) if without in rows), None)


def shortened(name):
    """The name, without its hosts one by one, then all of that without a date: the order of a lookup."""
    for whole in [name] + [dated[1] for dated in [re.fullmatch(DATED, name)] if dated]:
        yield whole
        host, slash, rest = whole.partition("/")
        while slash and host in HOSTS:
            yield rest
            host, slash, rest = rest.partition("/")


def main():
    path, version, date = sys.argv[1:]
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        sys.exit("tools/prices.py: the date is written as 2026-11-22")
    with open(path, encoding="utf-8") as file:
        # Decimals as written, never through binary floats.
        listed = json.load(file, parse_float=Decimal, parse_int=Decimal)
    rows = table(listed, date)
    print("# Prices of models in US dollars per million tokens. Generated by tools/prices.py, which says what the columns mean.")
    print(f"# source: litellm {version}, model_prices_and_context_window_backup.json; licence: built_in.LICENSE")
    print(f"# date: {date}")
    print(f"# hosts: {' '.join(sorted(HOSTS))}")
    for name, row in sorted(rows.items()):
        print(f"{name}\t{same(name, rows) or row}")


def same(name, rows):
    """`=` and the shortest name within this one that costs the same, if there is any."""
    inside = [other for other in parts(name) if other != name and rows.get(other) == rows[name]]
    return "=" + min(inside, key=lambda other: (len(other), other)) if inside else None


def parts(name):
    """Every piece of a name between borders of words."""
    ends = [match.start() for match in re.finditer(r"[-./:@_]|$", name)]
    starts = [0] + [end + 1 for end in ends]
    return [name[start:end] for start in starts for end in ends if start < end]


if __name__ == "__main__":
    main()
