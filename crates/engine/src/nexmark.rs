//! The Nexmark source as the engine makes it: settings of the plan to those of the connector.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use forebay_connectors::nexmark::{NexmarkEnumerator, NexmarkReader, NexmarkSettings, Stream};
use forebay_core::Result;
use forebay_core::source::Reader;
use forebay_plan::nexmark::{NexmarkSpec, NexmarkStream};
use forebay_plan::spec::SourceSpec;
use forebay_runtime::build::MakeReader;

/// The connector's settings.
pub fn settings(spec: &NexmarkSpec) -> NexmarkSettings {
    let stream = match spec.stream {
        NexmarkStream::Person => Stream::Person,
        NexmarkStream::Auction => Stream::Auction,
        NexmarkStream::Bid => Stream::Bid,
    };
    NexmarkSettings {
        stream,
        rows: spec.rows,
        seed: spec.seed,
        rate: spec.rate,
        out_of_order: spec.out_of_order,
        splits: spec.splits,
        person_bytes: spec.person_bytes,
        auction_bytes: spec.auction_bytes,
        bid_bytes: spec.bid_bytes,
        hot_auctions: spec.hot_auctions,
        hot_bidders: spec.hot_bidders,
        hot_sellers: spec.hot_sellers,
        active_people: spec.active_people,
        auctions_in_flight: spec.auctions_in_flight,
    }
}

/// What lists the splits of `source`, which is `spec`.
pub fn enumerator(source: &SourceSpec, spec: &NexmarkSpec, key_groups: u16) -> NexmarkEnumerator {
    NexmarkEnumerator::new(source.uid.clone(), settings(spec), key_groups)
}

/// What makes the readers of `source`, which is `spec`, for rows of `schema`.
pub fn readers(source: &SourceSpec, spec: &NexmarkSpec, schema: &SchemaRef) -> MakeReader {
    let (settings, schema, batch_rows) = (settings(spec), Arc::clone(schema), source.batch_rows);
    Box::new(move |_| {
        let reader = NexmarkReader::new(settings.clone(), Arc::clone(&schema), batch_rows)?;
        Ok(Box::new(reader) as Box<dyn Reader>) as Result<_>
    })
}
