use super::*;

fn due(nth: u32, action: Action) -> Due {
    Due { nth, says: true, action }
}

#[test]
fn a_step_acts_at_its_nth_hit_and_only_then() {
    let mut plan = Plan::parse("coordinator.decided:3=kill, store.linked=error").unwrap();
    assert_eq!(plan.count("coordinator.decided"), None);
    assert_eq!(plan.count("store.linked"), Some(due(1, Action::Error)));
    assert_eq!(plan.count("coordinator.decided"), None);
    assert_eq!(plan.count("coordinator.decided"), Some(due(3, Action::Kill)));
    assert_eq!(plan.count("coordinator.decided"), None);
    assert_eq!(plan.count("store.linked"), None);
    assert_eq!(plan.count("worker.acked"), None);
}

#[test]
fn a_pause_has_a_bounded_time() {
    let mut plan = Plan::parse("worker.acked=pause:250ms,worker.restored:2=pause:2s").unwrap();
    assert_eq!(plan.count("worker.acked"), Some(due(1, Action::Pause(Duration::from_millis(250)))));
    for text in ["worker.acked=pause", "worker.acked=pause:1h", "worker.acked=pause:3601s", "worker.acked=pause:-1s"] {
        assert!(matches!(Plan::parse(text), Err(ArmError::Syntax { .. })), "{text}");
    }
}

#[test]
fn a_star_stands_for_every_hit_and_speaks_once() {
    let mut plan = Plan::parse("sink.written:2=kill,sink.written:*=error").unwrap();
    assert_eq!(plan.count("sink.written"), Some(due(1, Action::Error)));
    assert_eq!(plan.count("sink.written"), Some(due(2, Action::Kill)), "the one that was named first counts");
    assert_eq!(plan.count("sink.written"), Some(Due { nth: 3, says: false, action: Action::Error }));
}

#[test]
fn an_unknown_step_is_refused() {
    assert_eq!(Plan::parse("coordinator.guess=kill"), Err(ArmError::UnknownStep { step: "coordinator.guess".into() }));
    for text in ["", "worker.acked", "worker.acked=", "worker.acked:0=kill", "worker.acked:x=kill", "worker.acked=die"]
    {
        assert!(matches!(Plan::parse(text), Err(ArmError::Syntax { .. })), "{text}");
    }
}

#[test]
fn names_are_unique_and_told() {
    for (i, step) in STEPS.iter().enumerate() {
        assert!(STEPS[..i].iter().all(|other| other.name != step.name), "{} is listed twice", step.name);
        assert!(!step.meaning.is_empty() && step.meaning.len() <= 100, "{}", step.name);
    }
}

/// Every call in the sources names a listed step, so that the kill tests, which go by the list, miss none.
#[test]
fn every_hit_is_listed() {
    let mut files = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut calls = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for call in ["crashpoint::hit(\"", "crashpoint::pass(\""] {
            for (_, rest) in text.match_indices(call).map(|(at, _)| text.split_at(at + call.len())) {
                let name = rest.split('"').next().unwrap_or_default();
                // `step` (in documentation) is no name.
                if name.contains('.') {
                    calls += 1;
                    assert!(STEPS.iter().any(|step| step.name == name), "{}: {name} is not listed", path.display());
                }
            }
        }
    }
    assert!(calls > 0, "no call was found: this test looks in the wrong place");
}
