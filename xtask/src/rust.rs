//! Just enough of Rust's lexical grammar to tell code from comments and text.
//!
//! The checks of [`tidy`](crate::tidy) look for names and paths; a word in a comment or a string must not trip them, and a
//! full parser would be the heaviest dependency of the repository for that one need. It never judges syntax: rustc does.

use std::ops::Range;

/// What a stretch of source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Neither of the others.
    Code,
    /// A line or block comment, doc comments included.
    Comment,
    /// A string or character literal, with its quotes.
    Text,
}

/// A stretch of source of one kind; the pieces of a file cover it without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it is.
    pub kind: Kind,
    /// Where it is, in bytes.
    pub range: Range<usize>,
}

/// Cuts `source` into pieces.
pub fn pieces(source: &str) -> Vec<Piece> {
    let bytes = source.as_bytes();
    let mut pieces = Vec::new();
    let (mut code, mut at) = (0, 0);
    while at < bytes.len() {
        let Some((kind, end)) = special(source, at) else {
            at += 1;
            continue;
        };
        if code < at {
            pieces.push(Piece { kind: Kind::Code, range: code..at });
        }
        pieces.push(Piece { kind, range: at..end });
        (code, at) = (end, end);
    }
    if code < bytes.len() {
        pieces.push(Piece { kind: Kind::Code, range: code..bytes.len() });
    }
    pieces
}

/// `source` with comments and literals blanked out; every byte left stands where it stood.
pub fn code(source: &str) -> String {
    let mut out = Vec::with_capacity(source.len());
    for piece in pieces(source) {
        let part = &source.as_bytes()[piece.range.clone()];
        match piece.kind {
            Kind::Code => out.extend_from_slice(part),
            Kind::Comment | Kind::Text => out.extend(part.iter().map(|&b| if b == b'\n' { b } else { b' ' })),
        }
    }
    String::from_utf8(out).expect("whole pieces are replaced by ASCII")
}

/// The line of a byte, counted from 1.
pub fn line_of(source: &str, byte: usize) -> usize {
    1 + source.as_bytes()[..byte].iter().filter(|&&b| b == b'\n').count()
}

/// Whether a byte may stand in an identifier.
pub fn is_identifier(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// The comment or literal that begins at `at`, with its end.
fn special(source: &str, at: usize) -> Option<(Kind, usize)> {
    let bytes = source.as_bytes();
    let rest = &bytes[at..];
    match rest[0] {
        b'/' if rest.starts_with(b"//") => {
            let end = rest.iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n);
            Some((Kind::Comment, end))
        }
        b'/' if rest.starts_with(b"/*") => Some((Kind::Comment, block_comment_end(bytes, at))),
        b'"' => Some((Kind::Text, quoted_end(bytes, at, b'"'))),
        b'r' if begins_word(bytes, at) => raw_end(bytes, at).map(|end| (Kind::Text, end)),
        b'\'' if is_character(source, at) => Some((Kind::Text, quoted_end(bytes, at, b'\''))),
        _ => None,
    }
}

fn block_comment_end(bytes: &[u8], begin: usize) -> usize {
    let (mut depth, mut at) = (0, begin);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn quoted_end(bytes: &[u8], begin: usize, quote: u8) -> usize {
    let mut at = begin + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Whether an `r` at `at` begins a word, or follows only the `b` or `c` of a raw byte or C string.
fn begins_word(bytes: &[u8], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map(|i| bytes[i]);
    match before(1) {
        Some(b'b' | b'c') => !before(2).is_some_and(is_identifier),
        Some(byte) => !is_identifier(byte),
        None => true,
    }
}

fn raw_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let hashes = bytes[begin + 1..].iter().take_while(|&&b| b == b'#').count();
    let quote = begin + 1 + hashes;
    if bytes.get(quote) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let found = bytes[quote + 1..].windows(close.len()).position(|window| window == close);
    Some(found.map_or(bytes.len(), |n| quote + 1 + n + close.len()))
}

/// Whether a quote begins a character literal rather than a lifetime.
fn is_character(source: &str, at: usize) -> bool {
    let mut rest = source[at + 1..].chars();
    match rest.next() {
        Some('\\') => true,
        Some(_) => rest.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(source: &str, expected: &str) {
        assert_eq!(code(source), expected, "{source}");
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        case("a // b\nc", "a     \nc");
        case("a /* b /* c */ d */ e", "a                   e");
        case("f(\"x // y\", g)", "f(        , g)");
        case(r#"f("a\"b", g)"#, "f(      , g)");
        case("f(r#\"a\"b\"#, g)", "f(        , g)");
        case("f(br\"a\\\", g)", "f(b     , g)");
        case("match c { '\"' => 1, '\\'' => 2 }", "match c {     => 1,      => 2 }");
        case("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        case("let r#type = bar\"\";", "let r#type = bar  ;");
        case("'é' é", "     é");
        case("a /* never closed", "a                ");
    }

    #[test]
    fn pieces_cover_the_source() {
        let source = "let a = \"b\"; // c\nlet d = 'e';";
        let joined: String = pieces(source).iter().map(|piece| &source[piece.range.clone()]).collect();
        assert_eq!(joined, source);
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!((line_of("a\nb", 0), line_of("a\nb", 1), line_of("a\nb", 2)), (1, 1, 2));
    }
}
