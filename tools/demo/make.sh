#!/usr/bin/env bash
# Makes the demo models: text, tokenizer, training, questions. `tools/demo/make.sh [sdar|llada]...`, both by default.
#
# Needs Python 3.10 or newer with venv, 6 GB of disk for PyTorch, an hour of two cores for sdar (in two stretches) and a quarter of one for
# llada, which starts from sdar's weights. A run that was stopped is taken up again. What comes out lies in target/demo and goes to demo/
# when it is finished.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=target/demo
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.6.0 numpy==2.4.6 tokenizers==0.23.3 safetensors==0.8.0

families=("$@")
[ $# -gt 0 ] || families=(sdar llada)
for family in "${families[@]}"; do
    if [ "$family" = sdar ]; then
        "$work/venv/bin/python" tools/demo/train.py sdar "$work/first"
        start=(--start-from "$work/first" --steps 800)
    else
        start=(--start-from demo/sdar --learning-rate 2e-3)
    fi
    "$work/venv/bin/python" tools/demo/train.py "$family" "$work/$family" "${start[@]}"
    mkdir -p "demo/$family"
    for file in model.safetensors config.json generation_config.json tokenizer.json tokenizer_config.json quality.jsonl; do
        cp "$work/$family/$file" "demo/$family/$file"
    done
    chmod 644 "demo/$family"/*
done
