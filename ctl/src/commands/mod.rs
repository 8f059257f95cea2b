//! A file per verb, or per family of verbs that are one idea.

pub(crate) mod apply;
pub(crate) mod auth;
pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod edit;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod expose;
pub(crate) mod get;
pub(crate) mod image;
pub(crate) mod logs;
pub(crate) mod metadata;
pub(crate) mod nodes;
pub(crate) mod patch;
pub(crate) mod plan;
pub(crate) mod replace;
pub(crate) mod rollout;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod set;
pub(crate) mod taint;
pub(crate) mod top;
pub(crate) mod validate;
pub(crate) mod wait;
pub(crate) mod why;

use crate::args::{Cli, Command};
use crate::error::Failure;
use crate::session::Session;

/// Carries out a command.
pub(crate) async fn dispatch(cli: Cli) -> Result<(), Failure> {
    if let Command::Version(version) = &cli.command
        && version.client
    {
        return version.clone().run(None).await;
    }
    if let Command::Config(config) = cli.command {
        return config.run(&cli.connection);
    }
    let session = Session::open(&cli.connection).await?;
    match cli.command {
        Command::Get(get) => get.run(&session).await,
        Command::Apply(apply) => apply.run(&session).await,
        Command::Cordon(nodes) => nodes.cordon(&session, true).await.map(|_| ()),
        Command::Uncordon(nodes) => nodes.cordon(&session, false).await.map(|_| ()),
        Command::Drain(drain) => drain.run(&session).await,
        Command::Image(image) => image.run(&session).await,
        Command::Logs(logs) => logs.run(&session).await,
        Command::Run(run) => run.run(&session).await,
        Command::Expose(expose) => expose.run(&session).await,
        Command::Autoscale(autoscale) => autoscale.run(&session).await,
        Command::Replace(replace) => replace.run(&session).await,
        Command::Certificate(certificate) => certificate.run(&session).await,
        Command::Edit(edit) => edit.run(&session).await,
        Command::Diff(diff) => diff.run(&session).await,
        Command::Top(top) => top.run(&session).await,
        Command::Explain(explain) => explain.run(&session).await,
        Command::Wait(wait) => wait.run(&session).await,
        Command::Auth(auth) => auth.run(&session).await,
        Command::Events(events) => events.run(&session).await,
        Command::Taint(taint) => taint.run(&session).await,
        Command::Config(config) => config.run(&cli.connection),
        Command::Describe(describe) => describe.run(&session).await,
        Command::Create(create) => create.run(&session).await,
        Command::Exec(exec) => exec.run(&session).await,
        Command::Attach(attach) => attach.run(&session).await,
        Command::Patch(patch) => patch.run(&session).await,
        Command::Plan(plan) => plan.run(&session).await,
        Command::Why(why) => why.run(&session).await,
        Command::Set(set) => set.run(&session).await,
        Command::Rollout(rollout) => rollout.run(&session).await,
        Command::Delete(delete) => delete.run(&session).await,
        Command::Label(change) => change.run(&session, metadata::LABEL).await,
        Command::Annotate(change) => change.run(&session, metadata::ANNOTATE).await,
        Command::Scale(scale) => scale.run(&session).await,
        Command::ApiResources(resources) => resources.run(&session).await,
        Command::ApiVersions => cluster::api_versions(&session).await,
        Command::ClusterInfo => cluster::cluster_info(&session).await,
        Command::Version(version) => version.run(Some(&session)).await,
    }
}
