#!/usr/bin/env bash
# Makes the demo models: text, tokenizer, training, questions. `tools/demo/make.sh [sdar|llada|llada2]...`, all by default.
#
# Needs Python 3.10 or newer with venv, 6 GB of disk for PyTorch, and an hour on two cores for each phase or two. llada takes two phases, sdar six;
# llada and llada2 start from weights of sdar. A run that was stopped is resumed. The results are in target/demo and go to demo/ when they are
# finished.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=target/demo
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.6.0 numpy==2.4.6 tokenizers==0.23.3 safetensors==0.8.0

families=("$@")
[ $# -gt 0 ] || families=(sdar llada llada2)
train() { "$work/venv/bin/python" tools/demo/train.py "$@"; }
for family in "${families[@]}"; do
    if [ "$family" = sdar ]; then
        train sdar "$work/first-sdar"
        train sdar "$work/second-sdar" --start-from "$work/first-sdar" --steps 800
        own_words() { train sdar "$work/$1" --start-from "$work/$2" --own-words --learning-rate "$3" --steps "$4" --seed "$5"; }
        own_words third-sdar second-sdar 1e-3 2200 1
        own_words fourth-sdar third-sdar 1e-3 1500 2
        own_words fifth-sdar fourth-sdar 7e-4 900 3
        own_words sdar fifth-sdar 1e-3 4200 41
    elif [ "$family" = llada2 ]; then
        train llada2 "$work/llada2" --start-from "$work/second-sdar" --learning-rate 2e-3 --steps 2400 --seed 51
    else
        train llada "$work/first-llada" --start-from demo/sdar --learning-rate 2e-3
        train llada "$work/llada" --start-from "$work/first-llada" --steps 3500 --learning-rate 1e-3
    fi
    mkdir -p "demo/$family"
    for file in model.safetensors config.json generation_config.json tokenizer.json tokenizer_config.json quality.jsonl; do
        cp "$work/$family/$file" "demo/$family/$file"
    done
    if [ "$family" = sdar ]; then cp "$work/sdar/first.jsonl" demo/sdar/first.jsonl; fi
    chmod 644 "demo/$family"/*
done
python3 tools/demo/decisions.py <demo/sdar/quality.jsonl >demo/decisions.jsonl
