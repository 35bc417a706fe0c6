//! Every mistake has its place and its advice. Each table is a snapshot: the mistake, then what people are told.

use crate::support::{DIGITS, graph_job, job, plan};

/// Mistakes and what is said about them.
#[derive(Default)]
struct Said(String);

impl Said {
    /// A whole job.
    fn case(&mut self, mistake: &str, text: &str) {
        let said = plan(text).map(|_| "no error".to_string()).unwrap_or_else(|error| error.to_string());
        self.0.push_str(&format!("{}\n    {said}\n", mistake.replace('\n', " | ")));
    }

    /// A step that follows the source.
    fn step(&mut self, step: &str) {
        self.case(step, &job(&format!("[[step]]\n{step}")));
    }

    /// Steps and sinks over two sources.
    fn graph(&mut self, steps: &str, sinks: &str) {
        self.case(&format!("{steps} // {sinks}"), &graph_job(steps, sinks));
    }

    /// The demo's job with one change.
    fn digits(&mut self, from: &str, to: &str) {
        assert!(DIGITS.contains(from), "{from}");
        self.case(&format!("{from} -> {to}"), &DIGITS.replacen(from, to, 1));
    }
}

#[test]
fn toml_and_keys() {
    let mut said = Said::default();
    said.case("name = ", "name = ");
    said.digits("uid = \"images\"", "uidd = \"images\"");
    said.digits("format = \"csv\"", "formt = \"csv\"");
    said.digits("format = \"images\"", "format = \"image\"");
    said.digits("parallelism = 2", "parallelism = \"two\"");
    said.digits("parallelism = 2", "parallelism = 0");
    said.digits("parallelism = 2", "parallelism = 200");
    said.digits("\"1s\"", "\"1 fortnight\"");
    said.digits("\"1s\"", "\"1 month\"");
    said.digits("\"1s\"", "\"0s\"");
    said.digits("${OUT}", "${OUTT}");
    said.digits("name = \"digits\"", "name = \"my digits\"");
    said.digits("path = \"data/*.{png,jpg}\"\n", "");
    said.digits("[sink]", "[sinks]");
    said.digits("model = \"digits\", ", "");
    said.digits("} }\n\n[[step]]\njoin", "}, batch_bytes = \"8\" }\n\n[[step]]\njoin");
    said.digits("} }\n\n[[step]]\njoin", "}, batch_rows = 0 }\n\n[[step]]\njoin");
    said.case("no sink", "name = \"t\"\n[source]\nformat = \"csv\"\npath = \"a\"\n");
    insta::assert_snapshot!(said.0);
}

#[test]
fn rows_and_fallbacks_of_inference() {
    let mut said = Said::default();
    let mut infer = |keys: &str| {
        let step = format!(
            "infer = {{ model = \"m\", inputs = {{ text = \"path\" }}, outputs = {{ answer = \"a\" }}, {keys} }}"
        );
        let others = ["second", "other"].into_iter().filter(|name| keys.contains(*name));
        let others: String = others.map(|name| format!("[model.{name}]\nhost = \"fake\"\n")).collect();
        let models = format!("[model.m]\nhost = \"fake\"\n{others}");
        let text = job(&format!("[[step]]\n{step}\n{models}"));
        let error = plan(&text).map(|_| "no error".to_string()).unwrap_or_else(|error| error.to_string());
        said.0.push_str(&format!("{keys}\n    {error}\n"));
    };
    infer("order = \"per_key\"");
    infer("key = [\"taken\"]");
    infer("order = \"per_key\", key = [\"take\"]");
    infer("batch_cost = 5");
    infer("cost = \"path\"");
    infer("cost = \"image_to_tensor(content, 8, 8)\"");
    infer("cost = \"length(pat)\"");
    infer("buckets = [1]");
    infer("length = \"taken\", buckets = [64, 64]");
    infer("deadline = \"0s\"");
    infer("deadline_column = \"taken\"");
    infer("fallback_column = \"by\"");
    infer("fallback_after = \"1s\"");
    infer("fallback = [{}]");
    infer("fallback = [{ constant = { answer = \"x\" }, model = \"m\" }]");
    infer("fallback = [{ model = \"m\" }]");
    infer("fallback = [{ model = \"n\" }]");
    infer("fallback = [{ model = \"second\" }, { model = \"second\" }]");
    infer("fallback = [{ model = \"other\" }]");
    infer("fallback = [{ constant = { answr = \"x\" } }]");
    infer("fallback = [{ constant = { answer = 7 } }]");
    infer("fallback = [{ sql = { answer = \"taken +\" } }]");
    infer("fallback = [{ constant = { answer = \"x\" } }], fallback_column = \"path\"");
    insta::assert_snapshot!(said.0);
}

#[test]
fn steps_and_models() {
    let mut said = Said::default();
    said.step("on_error = \"null\"");
    said.step("filter = \"true\"\nselect = [\"path\"]");
    said.step("select = []");
    said.digits("model = \"digits\"", "model = \"digit\"");
    said.digits("[model.digits]", "[model.other]\nhost = \"fake\"\n[model.digits]");
    said.digits("path = \"digits.onnx\"", "");
    said.digits("path = \"digits.onnx\"", "path = \"digits.onnx\"\nservice_time = \"5ms\"");
    said.digits("host = \"onnx\"", "host = \"fake\"");
    said.digits("uid = \"images\"", "uid = \"sink\"");
    said.digits("[model.digits]", "[dead_letters]\npath = \"out/\"\n[model.digits]");
    insta::assert_snapshot!(said.0);
}

#[test]
fn python_functions() {
    let mut said = Said::default();
    let mut python = |keys: &str| said.digits("host = \"onnx\"\npath = \"digits.onnx\"", keys);
    python("host = \"python\"");
    python("host = \"python\"\nfunction = \"shop.models\"");
    python("host = \"python\"\nfunction = \"shop.models:\"");
    python("host = \"python\"\nfunction = \"shop.models:Digits\"\npickled = \"f.pkl\"");
    python("host = \"python\"\npickled = \"\"");
    python("host = \"python\"\nfunction = \"a:b\"\npath = 3");
    python("host = \"python\"\nfunction = \"a:b\"\npath = [\"\"]");
    python("host = \"python\"\nfunction = \"a:b\"\nmemory = \"1MiB\"");
    python("host = \"python\"\nfunction = \"a:b\"\ngpu = 1.5");
    python("host = \"python\"\nfunction = \"a:b\"\ngpu_memory = \"0B\"");
    python("host = \"onnx\"\npath = \"m.onnx\"\ngpu = 1");
    python("host = \"python\"\nfunction = \"a:b\"\nuse_process = false\nmemory = \"1GiB\"");
    python("host = \"onnx\"\npath = \"m.onnx\"\nuse_process = false");
    python("host = \"python\"\nfunction = \"a:b\"\nservice_time = \"1ms\"");
    python("host = \"python\"\nfunction = \"a:b\"\nurl = \"http://localhost\"");
    python("host = \"onnx\"\npath = [\"a.onnx\", \"b.onnx\"]");
    python("host = \"onnx\"\npath = \"a.onnx\"\nversion = \"3\"");
    python("host = \"openai\"\nurl = \"http://localhost\"\nfunction = \"a:b\"");
    python("host = \"python\"\nfunction = \"a:b\"\npath = [\"src\"]\nmemory = \"1GiB\"\nversion = \"3\"");
    insta::assert_snapshot!(said.0);
}

#[test]
fn columns_and_functions() {
    let mut said = Said::default();
    said.step("filter = \"pth = 'a'\"");
    said.step("filter = \"Path = 'a'\"");
    said.step("filter = \"path\"");
    said.step("filter = \"path = \"");
    said.step("filter = \"path > 1 + true\"");
    said.step("select = [\"*\"]");
    said.step("select = [\"upper(path)\"]");
    said.step("select = [\"path\", \"taken AS path\"]");
    said.step("select = [\"image_to_tensr(content, 8, 8) AS x\"]");
    said.step("select = [\"describe(path) AS x\"]");
    said.step("select = [\"image_to_tensor(path, 8, 8) AS x\"]");
    said.step("select = [\"image_to_tensor(content, NULL, 8) AS x\"]");
    said.step("select = [\"CAST('abc' AS BIGINT) AS x\"]");
    said.step("select = [\"upper(path, 1) AS x\"]");
    said.step("select = [\"now() AS x\"]");
    said.step("filter = \"regexp_like(path, 'a(b')\"");
    said.step("filter = \"path ~ 'a{99999999}'\"");
    said.step("select = [\"regexp_replace(path, 'a(?=b)', 'c') AS x\"]");
    said.step("filter = \"regexp_like(path, '^a.*(b|c)$')\"");
    said.step("select = [\"count(path) AS x\"]");
    said.step("select = [\"(SELECT 1) AS x\"]");
    said.step("filter = \"true\"\n[[step]]\nselect = [\"taken\"]\n[[step]]\nwith = [\"path AS x\"]");
    insta::assert_snapshot!(said.0);
}

#[test]
fn models_and_shapes() {
    let mut said = Said::default();
    said.digits("8, 8) AS pixels", "8, 4) AS pixels");
    said.digits("pixels = \"pixels\"", "pixels = \"path\"");
    said.digits("pixels = \"pixels\"", "pixels = \"pixel\"");
    said.digits("pixels = \"pixels\"", "");
    said.digits("{ pixels = \"pixels\" }", "{ pixels = \"pixels\", pixls = \"pixels\" }");
    said.digits("scores = \"scores\"", "score = \"scores\"");
    said.digits("scores = \"scores\"", "ragged = \"scores\"");
    said.digits("scores = \"scores\"", "scores = \"path\"");
    said.digits("outputs = { label = \"predicted\", scores = \"scores\" }", "outputs = { }");
    insta::assert_snapshot!(said.0);
}

#[test]
fn joins() {
    let mut said = Said::default();
    said.digits("path = \"file\"", "path = \"fil\"");
    said.digits("{ path = \"file\" }", "{ pth = \"file\" }");
    said.digits("{ path = \"file\" }", "{ path = \"number\" }");
    said.digits("{ path = \"file\" }", "{}");
    said.digits("label = \"predicted\"", "label = \"ratio\"");
    insta::assert_snapshot!(said.0);
}

const ONE: &str = "[sink]\nformat = \"jsonl\"\npath = \"out\"";
const BOTH: &str = "[[step]]\nuid = \"all\"\nunion = [\"own\", \"views\"]";

#[test]
fn streams() {
    let mut said = Said::default();
    let two = "[sink.a]\nformat = \"jsonl\"\npath = \"out/a\"\n[sink.b]\nformat = \"jsonl\"\npath = \"out/b\"";
    let letters = "\n[dead_letters]\npath = \"out/bad\"";
    said.graph("", ONE);
    said.graph("[[step]]\nfilter = \"n > 1\"", ONE);
    said.graph("[[step]]\nfrom = \"click\"\nfilter = \"n > 1\"", ONE);
    said.graph("[[step]]\nfrom = \"clicks.late\"\nfilter = \"n > 1\"", ONE);
    said.graph("[[step]]\nfrom = \"step-2\"\nfilter = \"n > 1\"\n[[step]]\nfilter = \"n > 2\"", ONE);
    said.graph("[[step]]\nfrom = \"clicks\"\nfilter = \"n > 1\"", ONE);
    said.graph("[[step]]\nfrom = \"clicks\"\nfilter = \"n > 1\"\n[[step]]\nfrom = \"views\"\nfilter = \"n > 1\"", ONE);
    said.graph("[[step]]\nuid = \"views\"\nfrom = \"clicks\"\nfilter = \"n > 1\"", ONE);
    said.graph("[[step]]\nfrom = \"clicks\"\nunion = [\"clicks\", \"views\"]", ONE);
    said.graph("[[step]]\nunion = [\"clicks\"]", ONE);
    said.graph("[[step]]\nunion = [\"clicks\", \"clicks\"]", ONE);
    said.graph("[[step]]\nunion = [\"clicks\", \"view\"]", ONE);
    said.graph("[[step]]\nunion = [\"clicks\", \"views\"]\non_error = \"null\"", ONE);
    said.graph("[[step]]\nunion = [\"clicks\", \"views\"]", ONE);
    said.graph(&format!("[[step]]\nuid = \"own\"\nfrom = \"clicks\"\nselect = [\"user\", \"n\"]\n{BOTH}"), ONE);
    said.graph(&format!("[[step]]\nuid = \"own\"\nfrom = \"clicks\"\nselect = [\"user\", \"n\", \"at\"]\n{BOTH}"), ONE);
    said.graph("", two);
    said.graph("", &two.replace("jsonl\"\n", "jsonl\"\nfrom = \"clicks\"\n"));
    said.graph("", &format!("{}{letters}", two.replace("jsonl\"\n", "jsonl\"\nfrom = \"clicks\"\n")));
    said.graph("", &format!("{}{letters}", two.replace("out/b", "out/a/")));
    said.graph("", &format!("{two}{}", letters.replace("out/bad", "out/b/")));
    said.case("kinds", &job("").replace("path = \"out\"", "path = \"out\"\nkinds = \"taken\""));
    said.case("uid twice", &DIGITS.replace("[[step]]\ninfer = { ", "[[step]]\nuid = \"a\"\ninfer = { uid = \"b\", "));
    insta::assert_snapshot!(said.0);
}

#[test]
fn event_time() {
    let mut said = Said::default();
    let marked = |source: &str, watermark: &str| {
        let at = format!("[source.{source}]\n");
        let text = graph_job("[[step]]\nunion = [\"clicks\", \"views\"]", ONE);
        text.replace(&at, &format!("{at}watermark = {watermark}\n"))
    };
    for watermark in [
        "{ time = \"att\" }",
        "{ time = \"n\" }",
        "{ out_of_order = \"1s\" }",
        "{ time = \"at\", idle = \"0s\" }",
        "{ time = \"at\", files = \"sorted\" }",
        "{ time = \"at\", drift = \"1s\" }",
    ] {
        said.case(watermark, &marked("clicks", watermark));
    }
    said.case("text in parquet", &marked("views", "{ time = \"user\" }"));
    said.case("event time of one only", &marked("clicks", "{ time = \"at\" }"));
    insta::assert_snapshot!(said.0);
}

/// A job whose source of clicks also says `more`.
fn clicks(more: &str) -> String {
    let text = graph_job("[[step]]\nunion = [\"clicks\", \"views\"]", ONE);
    text.replace("[source.clicks]\n", &format!("[source.clicks]\n{more}\n"))
}

#[test]
fn columns_of_a_source() {
    let mut said = Said::default();
    for more in [
        "schema = []",
        "schema = [\"n\"]",
        "schema = [\"n Int\"]",
        "schema = [\"n Int64\", \"n Utf8\"]",
        "schema = [\"\\\"two words\\\"\"]",
    ] {
        said.case(more, &clicks(more));
    }
    said.case("images", &DIGITS.replace("format = \"images\"", "format = \"images\"\nschema = [\"n Int64\"]"));
    insta::assert_snapshot!(said.0);
}

#[test]
fn sources_that_look_for_new_files() {
    let mut said = Said::default();
    for more in [
        "monitor_interval = \"0s\"",
        "monitor_interval = 5",
        "monitor_interval = \"5s\"\nwatermark = { time = \"at\" }",
        "monitor_interval = \"5s\"\nparallelism = 2\nwatermark = { time = \"at\", files = \"in_order\" }",
    ] {
        said.case(more, &clicks(more));
    }
    insta::assert_snapshot!(said.0);
}

/// The demo's job with its model at an address, and `more` in the model's table.
fn remote(more: &str) -> String {
    DIGITS.replacen("host = \"onnx\"\npath = \"digits.onnx\"", &format!("host = \"open_inference\"\n{more}"), 1)
}

#[test]
fn how_models_are_asked() {
    let mut said = Said::default();
    let two = "urls = [\"http://a\", \"http://b\"]";
    for more in [
        "",
        "url = \"http://a\"\nurls = [\"http://b\"]",
        "urls = []",
        "urls = [\"http://a\", \"http://a\"]",
        "url = \"http://a\"\nreplicas = 2",
        &format!("{two}\nlatency = \"1s\"\nmetrics = \"http://a/metrics\""),
        &format!("{two}\nhedge = {{}}"),
        &format!("{two}\nidempotent = false\nhedge = {{}}"),
        "url = \"http://a\"\nidempotent = true\nhedge = {}",
        &format!("{two}\nidempotent = true\nhedge = {{ after = \"p96\" }}"),
        &format!("{two}\nidempotent = true\nhedge = {{ budget = 0.9 }}"),
        "url = \"http://a\"\nlimits = { requests_per_second = 0 }",
        "url = \"http://a\"\nlimits = { tokens_per_minute = 1000 }",
        "url = \"http://a\"\nlimits = { requests = 5 }",
        "url = \"http://a\"\nrequest_bytes = \"0B\"",
        "url = \"http://a\"\nrefusals = [{ means = \"data\" }]",
        "url = \"http://a\"\nrefusals = [{ status = 500, means = \"bad\" }]",
        "url = \"http://a\"\nopen_inference = { inputs = { pixels = \"floats[3]\" } }",
    ] {
        said.case(more, &remote(more));
    }
    said.digits("path = \"digits.onnx\"", "path = \"digits.onnx\"\nca = \"ca.pem\"");
    said.digits("model = \"digits\", ", "model = \"digits\", weight = 0, ");
    insta::assert_snapshot!(said.0);
}

#[test]
fn what_is_fetched() {
    let mut said = Said::default();
    let fetch = |more: &str| {
        DIGITS.replacen("host = \"onnx\"\npath = \"digits.onnx\"\n", &format!("host = \"fetch\"\n{more}\n"), 1)
    };
    for more in [
        "",
        "headers = { Accept = \"image/*\" }\nanswer_bytes = \"128MiB\"\nfetch = { private_hosts = [\"store:9000\"] }",
        "url = \"http://a\"",
        "urls = [\"http://a\"]",
        "name = \"a\"",
        "path = \"a\"",
        "credential = \"secret://KEY\"",
        "metrics = \"http://a/metrics\"",
        "refusals = [{ status = 404, means = \"unavailable\" }]",
        "request_bytes = \"1MiB\"",
        "answer_bytes = \"129MiB\"",
        "answer_bytes = \"0B\"",
        "replicas = 2",
        "idempotent = true\nhedge = {}",
        "limits = { tokens_per_minute = 1000 }",
        "fetch = { private_hosts = [\" \"] }",
        "fetch = { hosts = [] }",
        "http_json = { request = 1, outputs = {} }",
    ] {
        said.case(more, &fetch(more));
    }
    said.digits("path = \"digits.onnx\"", "path = \"digits.onnx\"\nfetch = {}");
    insta::assert_snapshot!(said.0);
}

#[test]
fn spans_are_the_words_that_are_wrong() {
    let error = plan(&job("[[step]]\nselect = [\"path || pth AS x\"]")).unwrap_err();
    assert_eq!(&error.source.text[error.span.clone()], "pth");
    let error: forebay_core::Error = error.into();
    assert_eq!(error.kind(), forebay_core::Kind::Invalid);
    assert_eq!(error.to_string(), "read job file (file=job.toml, line=6, column=20)");
    assert!(error.chain().contains("there is no column \"pth\""), "{}", error.chain());
}

#[test]
fn any_broken_file_is_an_error_with_a_place_in_it() {
    for cut in 0..DIGITS.len() {
        let without = format!("{}{}", &DIGITS[..cut], &DIGITS[cut + 1..]);
        for text in [&DIGITS[..cut], without.as_str()] {
            let Err(error) = forebay_plan::parse(text, "job.toml", |_| None) else { continue };
            assert!(error.span.end <= text.len() && error.line >= 1 && error.column >= 1, "{error}");
        }
    }
}
