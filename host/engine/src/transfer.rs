//! Takes blobs out of one Store's values and puts them into another's.

use bytes::Bytes;
use wasmtime::component::types::Type;
use wasmtime::component::{ResourceAny, Val};
use wasmtime::{AsContextMut, StoreContextMut};

use crate::guest::Guest;
use crate::host::blobs::Blob;

/// Whether values of this type can hold blobs.
pub(crate) fn holds_blobs(ty: &Type) -> bool {
    let mut found = false;
    visit(ty, 0, &mut |ty| found |= matches!(ty, Type::Own(_)));
    found
}

/// Types nested deeper than this are refused at deploy.
pub(crate) const TYPE_DEPTH_MAX: usize = 64;

/// Calls `each` for the type and all types in it, down to [`TYPE_DEPTH_MAX`]; false when it is deeper.
#[expect(clippy::wildcard_enum_match_arm, reason = "the types that hold others are named")]
pub(crate) fn visit(ty: &Type, depth: usize, each: &mut dyn FnMut(&Type)) -> bool {
    if depth > TYPE_DEPTH_MAX {
        return false;
    }
    each(ty);
    let mut inner = |ty: &Type| visit(ty, depth + 1, each);
    match ty {
        Type::List(list) => inner(&list.ty()),
        Type::Option(option) => inner(&option.ty()),
        Type::Record(record) => record.fields().all(|field| inner(&field.ty)),
        Type::Tuple(tuple) => tuple.types().all(|ty| inner(&ty)),
        Type::Variant(variant) => variant.cases().all(|case| case.ty.as_ref().is_none_or(&mut inner)),
        Type::Result(result) => {
            result.ok().as_ref().is_none_or(&mut inner) && result.err().as_ref().is_none_or(&mut inner)
        }
        _ => true,
    }
}

/// Moves the blobs out of the values: in their place stands `U32` with the place in `blobs`.
#[expect(clippy::wildcard_enum_match_arm, reason = "only values that hold others matter")]
pub(crate) fn detach(
    store: &mut StoreContextMut<'_, Guest>,
    val: &mut Val,
    blobs: &mut Vec<Bytes>,
) -> wasmtime::Result<()> {
    match val {
        Val::Resource(handle) => {
            let own = handle.try_into_resource::<Blob>(store.as_context_mut())?;
            let blob = store.data_mut().table.delete(own)?;
            let at = u32::try_from(blobs.len())?;
            blobs.push(blob.0);
            *val = Val::U32(at);
            Ok(())
        }
        Val::List(vals) | Val::Tuple(vals) => vals.iter_mut().try_for_each(|val| detach(store, val, blobs)),
        Val::Record(fields) => fields.iter_mut().try_for_each(|(_, val)| detach(store, val, blobs)),
        Val::Variant(_, Some(val)) | Val::Option(Some(val)) => detach(store, val, blobs),
        Val::Result(Ok(Some(val)) | Err(Some(val))) => detach(store, val, blobs),
        _ => Ok(()),
    }
}

/// Puts the blobs into the Store, where the type has them.
pub(crate) fn attach(
    store: &mut StoreContextMut<'_, Guest>,
    ty: &Type,
    val: &mut Val,
    blobs: &[Bytes],
) -> wasmtime::Result<()> {
    match (ty, &mut *val) {
        (Type::Own(_), Val::U32(at)) => {
            let bytes = blobs.get(*at as usize).cloned().unwrap_or_default();
            let own = store.data_mut().table.push(Blob(bytes))?;
            *val = Val::Resource(ResourceAny::try_from_resource(own, store.as_context_mut())?);
            Ok(())
        }
        (Type::List(list), Val::List(vals)) => {
            let ty = list.ty();
            vals.iter_mut().try_for_each(|val| attach(store, &ty, val, blobs))
        }
        (Type::Tuple(tuple), Val::Tuple(vals)) => {
            tuple.types().zip(vals).try_for_each(|(ty, val)| attach(store, &ty, val, blobs))
        }
        (Type::Record(record), Val::Record(fields)) => {
            record.fields().zip(fields).try_for_each(|(field, (_, val))| attach(store, &field.ty, val, blobs))
        }
        (Type::Variant(variant), Val::Variant(name, Some(val))) => {
            let case = variant.cases().find(|case| case.name == name.as_str()).and_then(|case| case.ty);
            case.map_or(Ok(()), |ty| attach(store, &ty, val, blobs))
        }
        (Type::Option(option), Val::Option(Some(val))) => attach(store, &option.ty(), val, blobs),
        (Type::Result(result), Val::Result(Ok(Some(val)))) => {
            result.ok().map_or(Ok(()), |ty| attach(store, &ty, val, blobs))
        }
        (Type::Result(result), Val::Result(Err(Some(val)))) => {
            result.err().map_or(Ok(()), |ty| attach(store, &ty, val, blobs))
        }
        _ => Ok(()),
    }
}
