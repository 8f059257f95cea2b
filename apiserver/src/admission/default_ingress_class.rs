//! `DefaultIngressClass`: an ingress that names no class gets the default one.

use super::{AdmissionRequest, Context, Plugin, text};
use crate::error::ApiError;

const ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

pub(super) struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn mutate(&self, request: &mut AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
        if !request.creates("networking.k8s.io", "ingresses") {
            return Ok(());
        }
        let Some(ingress) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let old_spelling = &ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"];
        if ingress["spec"]["ingressClassName"].is_string() || old_spelling.is_string() {
            return Ok(());
        }
        let mut defaults = context.reader.list("ingressclasses.networking.k8s.io", None);
        defaults.retain(|class| class["metadata"]["annotations"][ANNOTATION] == "true");
        defaults.sort_by(|one, two| {
            let made = |class: &serde_json::Value| text(&class["metadata"]["creationTimestamp"]).to_owned();
            let name = |class: &serde_json::Value| text(&class["metadata"]["name"]).to_owned();
            made(two).cmp(&made(one)).then_with(|| name(one).cmp(&name(two)))
        });
        if let Some(class) = defaults.first() {
            ingress["spec"]["ingressClassName"] = class["metadata"]["name"].clone();
        }
        Ok(())
    }
}
