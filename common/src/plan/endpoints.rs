//! Endpoints: paths of the API that answer with a window of a view.

use super::compile::{Compiler, Rows};
use super::{EndpointPlan, Plan};
use crate::definition;
use crate::value::Type;

/// Compiles an endpoint; views and the endpoints before it are in `plan`. `None` when it has mistakes that leave nothing to
/// say.
pub(super) fn endpoint(
    compiler: &mut Compiler<'_>,
    endpoint: &definition::Endpoint,
    plan: &Plan,
) -> Option<EndpointPlan> {
    if let Some(path) = &endpoint.path
        && let Some(other) = plan.endpoints.iter().find(|other| other.path == path.value)
    {
        compiler.error(path, format!("endpoint `{}` has the path `{}` already", other.name, path.value));
    }
    let view = compiler.find(endpoint.view.as_ref()?, "view", &plan.views, |view| &view.name)?;
    let of = format!("view `{}`", view.name);
    if let Some(by) = &endpoint.by {
        let columns = view.answer.iter().map(|field| (field.name.clone(), Some(field.ty))).collect();
        let rows = Rows { name: view.name.clone(), columns, complete: true };
        if let Some(ty @ (Type::Map | Type::Strings)) = compiler.column(by, &rows, &of) {
            compiler.error(by, format!("rows are ordered by a single value, and `{}` is of type {ty}", by.value));
        }
    } else if view.answer.iter().all(|field| matches!(field.ty, Type::Map | Type::Strings)) {
        let name = endpoint.view.as_ref()?;
        compiler.error(name, format!("no column of {of} can order the rows of an endpoint"));
    }
    Some(EndpointPlan {
        name: endpoint.name.value.clone(),
        path: endpoint.path.as_ref()?.value.clone(),
        view: view.name.clone(),
        by: endpoint.by.as_ref().map(|by| by.value.clone()),
        limit: endpoint.limit,
    })
}
