//! Every write and every event of every scenario is hit in turn; see `sim::perturb`.
//!
//! A sample is tried here: every `PERTURB_EVERY`-th point, from `PERTURB_FROM` on. `PERTURB_EVERY=1` tries all (`make perturb`).

use timonel_tests::sim::Component;
use timonel_tests::sim::perturb::{self, Life};
use timonel_tests::sim::script::Script;
use timonel_tests::sim::tap::Tap;

use crate::scenarios::{SEED, names, text};

/// Scenarios in which time itself is the point are only told, not perturbed: a delay of seconds is another story there, or they end
/// while somebody still tries.
const UNPERTURBED: &[&str] = &["preemption", "quota", "scheduling", "claim-binding"];

fn number(variable: &str, otherwise: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn reference(script: &Script, on: Component) -> Life {
    perturb::play(SEED, script, on, &Tap::new(), None).expect("the unperturbed life is a good one")
}

fn perturb(on: Component, otherwise: usize, part: usize) -> Tried {
    let (every, from) = (number("PERTURB_EVERY", otherwise).max(1), number("PERTURB_FROM", 0));
    let (mut tried, mut there, mut wrong) = (0, 0, Vec::new());
    let names = names()
        .into_iter()
        .filter(|name| !UNPERTURBED.contains(&name.as_str()))
        .enumerate();
    for (_, name) in names.filter(|(number, _)| number % 2 == part) {
        let script = Script::parse(&text(&name));
        let reference = reference(&script, on);
        let points = perturb::points(&reference);
        there += points.len();
        for point in points.into_iter().skip(from % every).step_by(every) {
            tried += 1;
            if let Err(violation) = perturb::hit(SEED, &script, on, point, &reference) {
                wrong.push(format!(
                    "{name}: {violation}\nagain: SCENARIO={name} PERTURB_EVERY={every} PERTURB_FROM={from}"
                ));
            }
        }
    }
    Tried {
        summary: format!(
            "{on}: {tried} of {there} points tried, {} with another end",
            wrong.len()
        ),
        wrong,
    }
}

struct Tried {
    summary: String,
    wrong: Vec<String>,
}

macro_rules! parts {
    ($($name:ident $on:ident $part:literal)*) => {
        $(#[test]
        fn $name() {
            let tried = perturb(Component::$on, 97, $part);
            println!("{}", tried.summary);
            assert!(tried.wrong.is_empty(), "{}\n{}", tried.summary, tried.wrong.join("\n\n"));
        })*
    };
}

parts! {
    controllers_come_to_the_same_end_wherever_they_are_hit_1_of_2 Controllers 0
    controllers_come_to_the_same_end_wherever_they_are_hit_2_of_2 Controllers 1
    the_scheduler_comes_to_the_same_end_wherever_it_is_hit_1_of_2 Scheduler 0
    the_scheduler_comes_to_the_same_end_wherever_it_is_hit_2_of_2 Scheduler 1
}
