//! Deployments go straight into the tables: they are few, and their components large.

use redb::{ReadableTable as _, WriteTransaction};

use super::tables::{Broken, COMPONENTS, DEPLOYMENTS, deployments, parse, row};
use crate::store::Deployment;

/// Stores both, and drops the component that nothing names any more.
pub(super) fn deploy(tx: &WriteTransaction, deployment: &Deployment, component: &[u8]) -> Result<(), Broken> {
    let mut rows = tx.open_table(DEPLOYMENTS)?;
    let mut components = tx.open_table(COMPONENTS)?;
    let hash = deployment.hash.as_str();
    if components.get(hash)?.is_none() {
        components.insert(hash, component)?;
    }
    let replaced = rows.insert(deployment.name.as_str(), row(deployment)?.as_slice())?;
    let Some(replaced) = replaced.map(|row| parse::<Deployment>(row.value(), "a deployment")) else {
        return Ok(());
    };
    match (replaced, deployments(&rows)) {
        (Ok(replaced), Ok(all)) => {
            if all.iter().all(|deployment| deployment.hash != replaced.hash) {
                components.remove(replaced.hash.as_str())?;
            }
        }
        // With a row unread nobody can say what is used, so all components stay.
        (Err(error), _) | (_, Err(error @ Broken::Damaged(_))) => {
            tracing::error!(%error, "a damaged deployment: unused components are kept");
        }
        (_, Err(error @ Broken::Io(_))) => return Err(error),
    }
    Ok(())
}
