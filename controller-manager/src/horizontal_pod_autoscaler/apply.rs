//! Carries out what was decided about an autoscaler.

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus};
use kube::api::{Api, PostParams};
use timonel_api::ObjectKey;
use timonel_client::events::EventType;
use timonel_client::runner::{Acting as _, Plan, ReconcileError, Writes};

use super::plan::Rescale;
use super::{Action, Autoscalers, Because, Observed, target};

impl Autoscalers {
    pub(super) async fn carry_out(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        for action in &plan.actions {
            match action {
                Action::Say { kind, reason, message } => self.say(observed, *kind, reason, message.as_str()),
                Action::Remember(memory) => self.remember(key, memory),
                Action::SetStatus(status) => self.set_status(key, observed, status, writes).await?,
                Action::Rescale(rescale) => self.rescale(key, observed, rescale, writes).await?,
            }
        }
        Ok(())
    }

    fn say(&self, observed: &Observed, kind: EventType, reason: &str, message: &str) {
        self.recorder.publish(&*observed.autoscaler, kind, reason, message);
    }

    async fn rescale(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        rescale: &Rescale,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let told = format!("New size: {}; reason: {}", rescale.to, rescale.reason);
        match target::rescale(&self.context.client, &rescale.scale, rescale.to).await {
            Ok(()) => {
                let (status, memory) = &rescale.done;
                self.remember(key, memory);
                self.say(observed, EventType::Normal, "SuccessfulRescale", &told);
                self.set_status(key, observed, status, writes).await
            }
            Err(error) => {
                let told = format!("{told}; error: {error}");
                self.say(observed, EventType::Warning, "FailedRescale", &told);
                let status = rescale.failed.clone().not_rescaled(&error);
                self.set_status(key, observed, &status, writes).await
            }
        }
    }

    async fn set_status(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        status: &HorizontalPodAutoscalerStatus,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let mut whole = HorizontalPodAutoscaler::clone(&observed.autoscaler);
        whole.status = Some(status.clone());
        let written = api.replace_status(&key.name, &PostParams::default(), &whole).await;
        if let Err(error) = &written {
            self.say(observed, EventType::Warning, "FailedUpdateStatus", &error.to_string());
        }
        let written = written.acting(|| format!("cannot write the status of autoscaler {key}"))?;
        writes.wrote(&self.autoscalers, &written);
        Ok(())
    }
}
