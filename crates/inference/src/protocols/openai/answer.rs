//! What a model said to one row, whole or gathered from a stream.

use serde::Deserialize;
use serde_json::Value;

use super::schema::Structure;
use crate::protocols::columns::written;

/// A body of `/chat/completions` or `/completions`, or one piece of its stream.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    delta: Option<Message>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

/// Tokens as the server counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: u64,
    #[serde(default)]
    pub(super) completion_tokens: u64,
}

/// What is known of an answer so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<Usage>,
}

// === impl Said ===

impl Said {
    /// Takes in a body or the next piece of a stream. Gives the error object that it carries instead, if it does.
    ///
    /// # Errors
    /// It has more than the one choice that was asked for.
    pub(super) fn take(&mut self, body: Body) -> Result<Option<Value>, String> {
        if let Some(error) = body.error {
            return Ok(Some(error));
        }
        if body.usage.is_some() {
            self.usage = body.usage;
        }
        let choices = body.choices.len();
        for choice in body.choices {
            if choice.index != 0 || choices > 1 {
                return Err(format!(
                    "{choices} choices, the last with index {}, where one was asked for",
                    choice.index
                ));
            }
            let message = choice.message.or(choice.delta);
            let (content, refusal) = message.map_or((None, None), |message| (message.content, message.refusal));
            join(&mut self.text, content.or(choice.text));
            join(&mut self.refusal, refusal);
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        }
        Ok(None)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        [&self.text, &self.refusal].into_iter().flatten().map(String::len).sum()
    }

    /// The text, if there is one that counts.
    ///
    /// # Errors
    /// The model refused, called a tool, or said nothing at all.
    pub(super) fn spoken(&self) -> Result<&str, String> {
        if let Some(refusal) = self.refusal.as_deref().filter(|refusal| !refusal.is_empty()) {
            return Err(format!("the model refused: {}", crate::protocols::refusal::cut(refusal)));
        }
        let reason = self.finish_reason.as_deref().unwrap_or("none");
        if reason == "content_filter" {
            return Err("the server's content filter cut the answer".to_string());
        }
        self.text.as_deref().ok_or_else(|| format!("no text (finish_reason={reason})"))
    }

    /// The text, which is JSON, as the value of a column, once it is as its schema says.
    ///
    /// # Errors
    /// It is no JSON, not as the schema says, or was cut at the limit of tokens, even where what is left can be read.
    pub(super) fn structured(&self, structure: &Structure) -> Result<Value, String> {
        let text = self.spoken()?;
        if self.finish_reason.as_deref() == Some("length") {
            return Err("no whole JSON: it was cut at max_tokens".to_string());
        }
        let no_json = |source| format!("no JSON ({source})");
        let value = serde_json::from_str(text).map_err(no_json)?;
        structure.form.check(&value).map_err(|misfit| format!("not as the schema says: {misfit}"))?;
        written(text, &structure.kind, 0).map_err(no_json)
    }
}

fn join(whole: &mut Option<String>, part: Option<String>) {
    if let Some(part) = part {
        whole.get_or_insert_default().push_str(&part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn gathered(bodies: &[Value]) -> Result<Said, String> {
        let mut said = Said::default();
        for body in bodies {
            let error = said.take(serde_json::from_value(body.clone()).unwrap())?;
            assert_eq!(error, None);
        }
        Ok(said)
    }

    #[test]
    fn pieces_and_a_whole_say_the_same() {
        let usage = json!({ "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5 });
        let whole = json!({
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "ab" }, "finish_reason": "stop" }],
            "usage": usage,
        });
        let pieces = [
            json!({ "choices": [{ "index": 0, "delta": { "role": "assistant", "content": null } }] }),
            json!({ "choices": [{ "index": 0, "delta": { "content": "a" }, "finish_reason": null }] }),
            json!({ "choices": [{ "index": 0, "delta": { "content": "b" } }] }),
            json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
            json!({ "choices": [], "usage": usage }),
        ];
        assert_eq!(gathered(&pieces), gathered(&[whole]));
    }

    #[test]
    fn structured_answers_are_whole_and_as_the_schema_says() {
        let schema = json!({ "type": "object", "properties": { "label": { "enum": ["a"] }, "any": {} } });
        let structure = Structure::of(&schema).unwrap();
        let read = |content: &str, reason: &str| {
            let body = json!({ "choices": [{ "message": { "content": content }, "finish_reason": reason }] });
            gathered(&[body]).unwrap().structured(&structure)
        };
        assert_eq!(read(r#" {"label":"a","any":1.10} "#, "stop"), Ok(json!({ "label": "a", "any": "1.10" })));
        let other = read(r#"{"label":"b"}"#, "stop").unwrap_err();
        assert_eq!(other, r#"not as the schema says: `/label`: "b" is not one of "a""#);
        for cut in [r#"{"label":"a"}"#, r#"{"label":"#] {
            assert_eq!(read(cut, "length").unwrap_err(), "no whole JSON: it was cut at max_tokens");
        }
        assert!(read("spam", "stop").unwrap_err().starts_with("no JSON ("));
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let said = |message: Value, reason: &str| {
            gathered(&[json!({ "choices": [{ "message": message, "finish_reason": reason }] })]).unwrap()
        };
        let why = |message: Value, reason: &str| said(message, reason).spoken().map(str::to_string).unwrap_err();
        assert_eq!(
            why(json!({ "content": null, "tool_calls": [] }), "tool_calls"),
            "no text (finish_reason=tool_calls)"
        );
        assert_eq!(why(json!({ "content": null, "refusal": "I cannot" }), "stop"), "the model refused: I cannot");
        assert!(why(json!({ "content": "half" }), "content_filter").contains("content filter"));
        let two = gathered(&[json!({ "choices": [{ "text": "a" }, { "index": 1, "text": "b" }] })]).unwrap_err();
        assert!(two.starts_with("2 choices"), "{two}");
    }
}
