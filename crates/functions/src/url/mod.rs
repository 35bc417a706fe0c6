//! Functions on URLs. What stands behind them is fetched by a model, because that has to be waited for.

mod parse_url;

pub use parse_url::ParseUrl;
