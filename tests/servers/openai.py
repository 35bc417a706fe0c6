"""Starts llama.cpp's OpenAI-compatible servers on ports of loopback: text on the first, embeddings on the second.

Usage: openai.py FOLDER TEXT_PORT EMBEDDINGS_PORT UNUSED_PORT
Makes a tiny model of random weights in FOLDER first: it says nonsense, but through the real server. Ends when its
standard input closes.
"""

import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

VOCABULARY = 288
WIDTH = 64
HEADS = 4
LAYERS = 2
HIDDEN = 128
CONTEXT = 1024


def add_tokens(writer: gguf.GGUFWriter) -> None:
    """A byte-level vocabulary: three control tokens, every byte, and filler."""
    special = ["<unk>", "<s>", "</s>"]
    tokens = special + [f"<0x{byte:02X}>" for byte in range(256)]
    tokens += [f"<extra{place}>" for place in range(VOCABULARY - len(tokens))]
    control, byte, normal = gguf.TokenType.CONTROL, gguf.TokenType.BYTE, gguf.TokenType.NORMAL
    types = [gguf.TokenType.UNKNOWN, control, control] + [byte] * 256
    types += [normal] * (VOCABULARY - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:")


def make_model(path: Path) -> None:
    """A llama of two layers, the same weights every time."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_tokens(writer)
    random = np.random.default_rng(4)

    def weight(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0.0, 0.05, shape).astype(np.float32))

    weight("token_embd.weight", VOCABULARY, WIDTH)
    weight("output.weight", VOCABULARY, WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            weight(f"{block}.{name}.weight", WIDTH, WIDTH)
        weight(f"{block}.ffn_gate.weight", HIDDEN, WIDTH)
        weight(f"{block}.ffn_up.weight", HIDDEN, WIDTH)
        weight(f"{block}.ffn_down.weight", WIDTH, HIDDEN)
        for name in ["attn_norm", "ffn_norm"]:
            writer.add_tensor(f"{block}.{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path: str, port: int, embedding: bool) -> None:
    """Runs one server until standard input closes."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = CONTEXT * 2
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    params.warmup = False
    params.endpoint_metrics = True
    if embedding:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(params)
    sys.stdin.buffer.read()
    del server


def main() -> None:
    """Makes the model, then runs both servers until standard input closes."""
    folder = Path(sys.argv[1])
    if sys.argv[2] == "serve":
        serve(sys.argv[1], int(sys.argv[3]), sys.argv[4] == "embedding")
        return
    text, embeddings = int(sys.argv[2]), int(sys.argv[3])
    model = folder / "tiny.gguf"
    make_model(model)
    # Embeddings first, so that a ready text server means that both are.
    servers = []
    for port, kind in [(embeddings, "embedding"), (text, "text")]:
        command = [sys.executable, __file__, str(model), "serve", str(port), kind]
        servers.append(subprocess.Popen(command, stdin=subprocess.PIPE))
    try:
        sys.stdin.buffer.read()
    finally:
        for server in servers:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
