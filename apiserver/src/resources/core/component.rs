//! Component statuses, which are made for each answer (`subresources::component_status`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::cells::name;
use super::super::strategy::{Column, Strategy};
use super::super::value::{list, text};

/// `componentstatuses`.
pub(crate) struct ComponentStatuses;

impl Strategy for ComponentStatuses {
    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Status"),
            Column::new("Message"),
            Column::new("Error"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let healthy = list(object, "conditions")
            .iter()
            .find(|condition| text(condition, "type") == "Healthy");
        let Some(condition) = healthy else {
            return vec![name(object), json!("Unknown"), json!(""), json!("")];
        };
        let status = match text(condition, "status") {
            "True" => "Healthy",
            _ => "Unhealthy",
        };
        vec![
            name(object),
            json!(status),
            json!(text(condition, "message")),
            json!(text(condition, "error")),
        ]
    }
}
