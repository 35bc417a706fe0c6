//! Fetching what rows name: bytes, redirects, refusals, and URLs and servers that are hostile.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use forebay_core::{Error, Kind, Result};
use forebay_gate::limiter::Class;
use forebay_inference::hosts::Host;
use forebay_inference::protocols::fetch::{FetchSettings, host};
use forebay_inference::protocols::{class_of, retry_after};

use support::batch;
use support::servers::{Script, Scripted};

/// Settings under which rows may ask `hosts`, wherever they are.
fn allowing(hosts: &[String]) -> FetchSettings {
    FetchSettings { private_hosts: hosts.to_vec(), ..FetchSettings::default() }
}

fn at(server: &Scripted) -> String {
    format!("127.0.0.1:{}", server.port)
}

async fn fetched(settings: &FetchSettings, url: Option<&str>) -> Result<RecordBatch> {
    let urls: ArrayRef = Arc::new(StringArray::from(vec![url]));
    let rows = RecordBatch::try_from_iter([("url", urls)]).unwrap();
    let replica = host(settings)?.start(0).await?;
    replica.call(batch(1, rows)).await.map(|answers| answers.rows)
}

/// The bytes that `path` of a server, which plays `scripts`, gives.
async fn bytes_of(scripts: Vec<Script>, path: &str) -> Result<Vec<u8>> {
    let server = Scripted::start(scripts);
    let rows = fetched(&allowing(&[at(&server)]), Some(&format!("{}{path}", server.url()))).await?;
    Ok(rows.column(0).as_binary::<i32>().value(0).to_vec())
}

async fn refused(script: Script) -> Error {
    bytes_of(vec![script], "/x").await.unwrap_err()
}

fn redirect(location: &str) -> Script {
    Script::answer(302, &format!("Location: {location}\r\n"), "")
}

#[tokio::test]
async fn a_row_gets_the_bytes_behind_its_url_and_what_they_are() {
    let server = Scripted::start(vec![Script::answer(200, "Content-Type: image/png\r\n", [0, 159, 146, 150])]);
    let mut settings = allowing(&[at(&server)]);
    settings.headers = vec![("User-Agent".into(), "tests".into())];
    let rows = fetched(&settings, Some(&format!("{}/a%20b?c=d#e", server.url()))).await.unwrap();
    assert_eq!(rows.column_by_name("content").unwrap().as_binary::<i32>().value(0), [0, 159, 146, 150]);
    assert_eq!(rows.column_by_name("content_type").unwrap().as_string::<i32>().value(0), "image/png");
    let request = server.requests()[0].to_lowercase();
    assert!(request.starts_with("get /a%20b?c=d http/1.1\r\n"), "{request}");
    assert!(request.contains("user-agent: tests") && request.contains("accept-encoding: identity"), "{request}");
    for header in ["authorization", "cookie", "referer"] {
        assert!(!request.contains(header), "{request}");
    }
}

#[tokio::test]
async fn a_null_stays_null_and_an_empty_answer_is_empty() {
    let rows = fetched(&FetchSettings::default(), None).await.unwrap();
    assert_eq!(rows.columns().iter().map(|column| column.null_count()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(bytes_of(vec![Script::answer(204, "", "")], "/").await.unwrap(), b"");
}

#[tokio::test]
async fn a_private_address_is_not_asked_unless_the_settings_name_its_host() {
    let server = Scripted::start(vec![Script::answer(200, "", "a"), Script::answer(200, "", "b")]);
    let port = server.port;
    let other = [format!("127.0.0.1:{}", u32::from(port) - 1), "store".to_string()];
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let error = fetched(&allowing(&other), Some(&format!("http://{host}:{port}/x?token=t"))).await.unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Data, Class::Answered), "{}", error.chain());
        assert!(error.chain().contains("name the host in private_hosts"), "{}", error.chain());
        assert!(!error.chain().contains("token"), "{}", error.chain());
    }
    assert!(server.requests().is_empty());
    for host in ["127.0.0.1", "localhost"] {
        fetched(&allowing(&[host.to_string()]), Some(&format!("http://{host}:{port}/"))).await.unwrap();
    }
}

#[tokio::test]
async fn redirects_are_followed_five_times() {
    let ways = || ["/b", "c?d", "//127.0.0.1:PORT/e", "/f", "/g"].map(str::to_string);
    let server = |scripts: usize| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut played: Vec<Script> =
            ways().iter().map(|way| redirect(&way.replace("PORT", &port.to_string()))).collect();
        played.extend((5..scripts).map(|_| redirect("/again")));
        played.push(Script::answer(200, "", "here"));
        Scripted::start_on(listener, played)
    };
    let (good, endless) = (server(5), server(6));
    let rows = fetched(&allowing(&[at(&good)]), Some(&good.url())).await.unwrap();
    assert_eq!(rows.column(0).as_binary::<i32>().value(0), b"here");
    let asked: Vec<String> =
        good.requests().iter().map(|request| request.split(' ').nth(1).unwrap().to_string()).collect();
    assert_eq!(asked, ["/", "/b", "/c?d", "/e", "/f", "/g"]);
    let error = fetched(&allowing(&[at(&endless)]), Some(&endless.url())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    assert!(error.chain().ends_with("more than 5 redirects"), "{}", error.chain());
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_a_row_may_not_name() {
    let secret = Scripted::start(vec![Script::answer(200, "", "secret")]);
    for (location, why) in [
        (secret.url(), "is loopback"),
        (format!("http://localhost:{}/", secret.port), "is loopback"),
        (format!("http://[::ffff:7f00:1]:{}/", secret.port), "is loopback"),
        ("http://169.254.169.254/latest/meta-data/".to_string(), "is link-local"),
        ("file:///etc/passwd".to_string(), "only http and https are fetched, not file"),
        (format!("ftp://127.0.0.1:{}/", secret.port), "not ftp"),
        ("http://user:hidden@example.com/".to_string(), "user or password"),
        ("http://[::1".to_string(), "a redirect to no URL"),
        (format!("/{}", "x".repeat(9_000)), "at most 8192"),
    ] {
        let error = refused(redirect(&location)).await;
        assert_eq!(error.kind(), Kind::Data, "{location}: {}", error.chain());
        assert!(error.chain().contains(why) && !error.chain().contains("hidden"), "{location}: {}", error.chain());
    }
    assert!(refused(Script::answer(302, "", "")).await.chain().ends_with("a redirect without a location"));
    assert!(secret.requests().is_empty());
}

#[tokio::test]
async fn urls_that_nobody_should_ask_are_row_errors() {
    for (url, why) in [
        ("", "it is no URL"),
        ("no url", "it is no URL"),
        ("http://", "it is no URL"),
        ("file:///etc/passwd", "only http and https are fetched, not file"),
        ("s3://bucket/key", "not s3"),
        ("data:text/plain,x", "not data"),
        ("http://user:hidden@127.0.0.1/", "user or password"),
        ("https://hidden@127.0.0.1/", "user or password"),
        ("x://user:hidden@[::1", "it is no URL"),
    ] {
        let error = fetched(&FetchSettings::default(), Some(url)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{url}");
        assert!(error.chain().contains(why) && !error.chain().contains("hidden"), "{url}: {}", error.chain());
    }
    let long = format!("http://127.0.0.1/{}", "x".repeat(8_192));
    let error = fetched(&FetchSettings::default(), Some(&long)).await.unwrap_err();
    assert!(error.chain().contains("at most 8192") && error.chain().len() < 1_000, "{}", error.chain());
}

#[tokio::test]
async fn no_more_bytes_are_read_than_allowed() {
    let limited = async |script| {
        let server = Scripted::start(vec![script]);
        let settings = FetchSettings { answer_bytes_max: 10_000, ..allowing(&[at(&server)]) };
        fetched(&settings, Some(&server.url())).await.map(|rows| rows.column(0).as_binary::<i32>().value(0).len())
    };
    let huge = Script::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n".to_vec());
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    for script in [huge, Script::Endless(head, vec![b'x'; 4_096]), Script::answer(200, "", vec![0; 10_001])] {
        let error = limited(script).await.unwrap_err();
        assert_eq!((error.kind(), class_of(&error)), (Kind::Data, Class::Answered), "{}", error.chain());
        assert!(error.chain().contains("more than 10000 bytes: raise answer_bytes"), "{}", error.chain());
    }
    assert_eq!(limited(Script::answer(200, "", vec![0; 10_000])).await.unwrap(), 10_000);
}

#[tokio::test]
async fn nothing_is_decompressed() {
    // A gzip member of a megabyte of zeros is about a kilobyte; what it is named decides, not what it holds.
    for named in ["gzip", "identity, br", "x-unknown"] {
        let error = refused(Script::answer(200, &format!("Content-Encoding: {named}\r\n"), vec![0x1f; 1_000])).await;
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.chain().contains("the server sends it compressed"), "{}", error.chain());
    }
    let plain = Script::answer(200, "Content-Encoding: identity\r\nContent-Type: application/gzip\r\n", [0x1f, 0x8b]);
    assert_eq!(bytes_of(vec![plain], "/a.gz").await.unwrap(), [0x1f, 0x8b]);
}

#[tokio::test]
async fn what_a_server_says_is_about_its_url_alone() {
    let seconds = Duration::from_secs;
    let case = async |status: u16, headers: &str, kind: Kind, pause: Option<Duration>| {
        let error = refused(Script::answer(status, headers, "out of memory; too many requests")).await;
        assert_eq!((error.kind(), retry_after(&error)), (kind, pause), "{status}: {}", error.chain());
        assert!(error.chain().contains(&format!("status {status}")), "{}", error.chain());
    };
    for status in [300, 304, 400, 401, 402, 403, 404, 405, 410, 413, 451] {
        case(status, "", Kind::Data, None).await;
    }
    for status in [408, 429, 503, 529] {
        case(status, "Retry-After: 2\r\n", Kind::Overload, Some(seconds(2))).await;
    }
    case(429, "Retry-After: 999999999\r\n", Kind::Overload, Some(seconds(60))).await;
    for status in [500, 501, 502, 504, 599] {
        case(status, "", Kind::Unavailable, None).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_breaks_off_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let error = fetched(&allowing(std::slice::from_ref(&host)), Some(&format!("http://{host}/"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain());
    for half in ["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "HTTP/1.1 200", "", "nonsense\r\n\r\n"] {
        let error = refused(Script::Bytes(half.into())).await;
        assert_eq!(error.kind(), Kind::Unavailable, "{half}: {}", error.chain());
    }
}

#[tokio::test]
async fn it_takes_urls_one_a_request_of_many_servers() {
    let fetch = host(&FetchSettings::default()).unwrap();
    assert!(fetch.batches() && fetch.many_servers() && fetch.calls_max() > 1);
    let signature = fetch.signature().await.unwrap();
    let shown = |slots: &[forebay_inference::hosts::Slot]| {
        slots.iter().map(|slot| format!("{} {slot}", slot.name)).collect::<Vec<_>>()
    };
    assert_eq!(shown(&signature.inputs), ["url string[rows]"]);
    assert_eq!(shown(&signature.outputs), ["content binary[rows]", "content_type string[rows]"]);
    let other = host(&allowing(&["store".to_string()])).unwrap();
    assert_ne!(fetch.revision(), other.revision(), "what was refused is asked for again");
}
