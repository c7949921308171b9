//! Deployments go straight into the tables: they are few, and their components large.

use redb::{ReadableTable as _, WriteTransaction};

use super::tables::{Broken, COMPONENTS, DEPLOYMENTS, VERSIONS, deployments, earlier_versions, parse, row};
use crate::store::{Deployment, VERSIONS_MAX};

/// Stores both, keeps what is replaced as an earlier version, and drops what is surplus then.
pub(super) fn deploy(tx: &WriteTransaction, deployment: &Deployment, component: &[u8]) -> Result<(), Broken> {
    let mut rows = tx.open_table(DEPLOYMENTS)?;
    let mut components = tx.open_table(COMPONENTS)?;
    let (name, hash) = (deployment.name.as_str(), deployment.hash.as_str());
    if components.get(hash)?.is_none() {
        components.insert(hash, component)?;
    }
    let replaced = match rows.insert(name, row(deployment)?.as_slice())? {
        Some(replaced) => replaced.value().to_vec(),
        None => return Ok(()),
    };
    let mut versions = tx.open_table(VERSIONS)?;
    match parse::<Deployment>(&replaced, "a deployment") {
        Ok(Deployment { version, .. }) => drop(versions.insert((name, version), replaced.as_slice())?),
        // With a row unread nobody can say what is used, so all components stay.
        Err(error) => {
            tracing::error!(%error, "a damaged deployment was replaced: unused components are kept");
            return Ok(());
        }
    }
    let kept = versions.range((name, 0)..=(name, u64::MAX))?.map(|entry| Ok(entry?.0.value().1));
    let kept: Vec<u64> = kept.collect::<Result<_, Broken>>()?;
    let surplus = (kept.len() + 1).saturating_sub(VERSIONS_MAX);
    let mut dropped = Vec::new();
    for version in &kept[..surplus] {
        if let Some(row) = versions.remove((name, *version))? {
            dropped.push(row.value().to_vec());
        }
    }
    if dropped.is_empty() {
        return Ok(());
    }
    let unused = deployments(&rows).and_then(|mut used| {
        used.extend(earlier_versions(&versions)?);
        let dropped = dropped.iter().map(|row| parse::<Deployment>(row, "a version of a deployment"));
        let dropped = dropped.collect::<Result<Vec<_>, _>>()?;
        let is_unused = |hash: &String| used.iter().all(|deployment| deployment.hash != *hash);
        Ok(dropped.into_iter().map(|deployment| deployment.hash).filter(is_unused).collect::<Vec<_>>())
    });
    match unused {
        Ok(unused) => {
            for hash in &unused {
                components.remove(hash.as_str())?;
            }
            Ok(())
        }
        Err(error @ Broken::Damaged(_)) => {
            tracing::error!(%error, "a damaged deployment: unused components are kept");
            Ok(())
        }
        Err(error @ Broken::Io(_)) => Err(error),
    }
}
