//! Random input, and the laws that must hold for all of it.
//!
//! ```text
//! bytes --input--> choices --values--> any JSON at all ------> json.rs, yaml.rs, json_patch.rs, merge_patch.rs
//!                     `------objects-> objects by the facts --> schema.rs, strategic.rs, apply.rs
//! texts of small alphabets -----------------------------------> quantity.rs, selector.rs
//! ```
//!
//! The ordinary run is short and always the same. `make fuzz` (or `PROPTEST_CASES=N cargo nextest run -p timonel-api --test fuzz`) is long
//! and different each time. What it finds becomes an ordinary test beside the code that was wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod apply;
mod input;
mod json;
mod json_patch;
mod merge_patch;
mod objects;
mod quantity;
mod schema;
mod selector;
mod strategic;
mod values;
mod yaml;
