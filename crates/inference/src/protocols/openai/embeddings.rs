//! Answers of `/embeddings`.

use serde::Deserialize;
use serde_json::Value;

use super::answer::Usage;

/// The whole answer.
#[derive(Debug, Deserialize)]
pub(super) struct Body {
    data: Vec<Item>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Item {
    index: usize,
    embedding: Value,
}

// === impl Body ===

impl Body {
    /// One vector a row, in the order of rows, whatever order they came in.
    ///
    /// # Errors
    /// A row has none or two, or there are others.
    pub(super) fn vectors(self, rows: usize) -> Result<Vec<Value>, String> {
        if self.data.len() != rows {
            return Err(format!("{} vectors to {rows} rows", self.data.len()));
        }
        let mut vectors = vec![None; rows];
        for item in self.data {
            match vectors.get_mut(item.index) {
                Some(place @ None) => *place = Some(item.embedding),
                Some(_) => return Err(format!("two vectors for row {}", item.index)),
                None => return Err(format!("a vector for row {} of {rows}", item.index)),
            }
        }
        Ok(vectors.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn vectors_go_to_their_rows() {
        let read = |data: Value| serde_json::from_value::<Body>(json!({ "data": data })).unwrap().vectors(2);
        let item = |index: usize, value: f64| json!({ "index": index, "embedding": [value] });
        assert_eq!(read(json!([item(1, 2.0), item(0, 1.0)])), Ok(vec![json!([1.0]), json!([2.0])]));
        assert_eq!(read(json!([item(0, 1.0)])), Err("1 vectors to 2 rows".to_string()));
        assert_eq!(read(json!([item(1, 1.0), item(1, 1.0)])), Err("two vectors for row 1".to_string()));
        assert_eq!(read(json!([item(0, 1.0), item(2, 1.0)])), Err("a vector for row 2 of 2".to_string()));
    }
}
