//! Several versions of one interface in one component: one kind, of which the newest version is served.
//!
//! Their resources are two types in the component model, and no handle of the one goes to the methods
//! of the other. An actor of both would be two objects in its instance, each with a copy of the state
//! that the other does not know. So one of them is constructed, and it must do for all callers.

use crate::error::AdmissionError;
use crate::kind::Kind;
use crate::wit::Wit;

/// Leaves the newest version of each kind, and what is to be said of those that are not served.
pub(super) fn newest(kinds: Vec<Kind>, wit: &Wit) -> Result<(Vec<Kind>, Vec<String>), AdmissionError> {
    let (mut served, mut others) = (Vec::<Kind>::new(), Vec::new());
    for kind in kinds {
        let Some(known) = served.iter_mut().find(|known| known.name == kind.name) else {
            served.push(kind);
            continue;
        };
        let is_newer = wit.version(&kind.interface) > wit.version(&known.interface);
        others.push(if is_newer { std::mem::replace(known, kind) } else { kind });
    }
    let warnings = others.iter().filter_map(|older| {
        let now = served.iter().find(|kind| kind.name == older.name)?;
        Some(stands_for(now, older).map(|()| warning(now, older)))
    });
    let warnings = warnings.collect::<Result<Vec<_>, _>>()?;
    Ok((served, warnings))
}

/// Whoever was built against the older version must find all that it knows.
fn stands_for(now: &Kind, older: &Kind) -> Result<(), AdmissionError> {
    for method in &older.methods {
        let name = &method.signature.name;
        let reason = match now.method(name) {
            Some((_, is)) if is.signature.fits(&method.signature) => continue,
            Some((_, is)) if is.text == method.text => "has other types in the newest".into(),
            Some((_, is)) => format!("is {} in the newest", is.text),
            None => "is not in the newest".into(),
        };
        return Err(AdmissionError::Versions {
            newest: now.interface.clone(),
            older: older.interface.clone(),
            reason: format!("`{name}` of the older, {}, {reason}", method.text),
        });
    }
    Ok(())
}

fn warning(now: &Kind, older: &Kind) -> String {
    format!(
        "{} is exported as `{}` and as `{}`: the newest serves callers of both, the other is never run",
        now.name.short(),
        now.interface,
        older.interface
    )
}
