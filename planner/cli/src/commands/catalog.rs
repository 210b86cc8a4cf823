//! `stowage catalog`.

use crate::args::{
    CatalogCommand, CatalogConvertArgs, CatalogExportArgs, CatalogFormat, CatalogShowArgs, CatalogSort,
};
use crate::failure::{Exit, Failure};
use crate::input::{self, Input};
use crate::output::Console;
use crate::render::document;
use crate::render::grid::{self, Column};
use crate::style::Palette;
use serde::Serialize;
use stowage_models::catalog::{Catalog, InstanceType, convert};
use stowage_models::objects::Ec2NodeClass;
use stowage_models::quantity::{self, CPU, MEMORY, PODS, Resources, display_amount};
use stowage_models::snapshot::Settings;
use stowage_models::units::UsdMicros;

/// Runs a catalogue command.
///
/// # Errors
/// When input cannot be read, a filter means nothing, or output cannot be written.
pub fn run(command: &CatalogCommand, console: &Console) -> Result<Exit, Failure> {
    match command {
        CatalogCommand::Show(args) => show(args, console),
        CatalogCommand::Export(args) => export(args, console),
        CatalogCommand::Convert(args) => convert(args, console),
    }?;
    Ok(Exit::Ok)
}

/// Reads a catalogue from its text.
///
/// # Errors
/// When it is none.
pub fn parse(input: &Input) -> Result<Catalog, Failure> {
    let hint = "`stowage catalog export` writes a catalogue to start from";
    let text = std::str::from_utf8(&input.bytes)
        .map_err(|_| Failure::new(&input.name, "is not UTF-8 text, so it is no catalogue", hint))?;
    Catalog::parse(text).map_err(|cause| Failure::new(&input.name, cause.to_string(), hint))
}

fn export(args: &CatalogExportArgs, console: &Console) -> Result<(), Failure> {
    let catalog = input::read_catalog(args.catalog.as_deref())?;
    console.deliver(catalog.to_text().as_bytes(), args.target.out.as_deref())
}

fn convert(args: &CatalogConvertArgs, console: &Console) -> Result<(), Failure> {
    let input = input::read(&args.data)?;
    let catalog = convert::from_ec2_json(&input.bytes).map_err(|cause| {
        Failure::new(
            &input.name,
            cause.to_string(),
            "give it EC2 types and prices as the refresh script records them",
        )
    })?;
    console.deliver(catalog.to_text().as_bytes(), args.target.out.as_deref())?;
    console.remark(&format!("{} types in {}", catalog.types.len(), catalog.region));
    Ok(())
}

/// A type as it is listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    instance_type: &'a str,
    arch: &'static str,
    vcpus: u32,
    /// With the default settings and an EC2NodeClass that says nothing.
    allocatable: Resources,
    zones: Vec<&'a str>,
    on_demand: Option<UsdMicros>,
    /// Cheapest of the zones listed.
    spot: Option<UsdMicros>,
    spot_estimated: bool,
}

fn show(args: &CatalogShowArgs, console: &Console) -> Result<(), Failure> {
    let catalog = input::read_catalog(args.catalog.as_deref())?;
    let filter = Filter::new(args, &catalog)?;
    let mut listed: Vec<Listed<'_>> = catalog
        .types
        .iter()
        .map(|kind| list(kind, args.zone.as_deref()))
        .filter(|kind| filter.accepts(kind))
        .collect();
    let dear = UsdMicros(i64::MAX);
    match args.sort {
        CatalogSort::Name => {}
        CatalogSort::Price => listed.sort_by_key(|kind| kind.on_demand.unwrap_or(dear)),
        CatalogSort::Spot => listed.sort_by_key(|kind| kind.spot.unwrap_or(dear)),
    }
    let text = match args.output {
        CatalogFormat::Json => document::json(&listed),
        CatalogFormat::Table => table(&catalog, &listed, console.stdout),
    };
    console.print(&text)
}

fn list<'a>(kind: &'a InstanceType, zone: Option<&str>) -> Listed<'a> {
    let zones = || kind.zones.iter().filter(|offer| zone.is_none_or(|zone| offer.zone == zone));
    let spot = zones().filter_map(|offer| offer.spot).min_by_key(|price| price.usd);
    Listed {
        instance_type: &kind.name,
        arch: kind.arch.as_str(),
        vcpus: kind.vcpus,
        allocatable: kind.allocatable(&Settings::default(), &Ec2NodeClass::default()),
        zones: zones().map(|offer| offer.zone.as_str()).collect(),
        on_demand: kind.on_demand,
        spot: spot.map(|price| price.usd),
        spot_estimated: spot.is_some_and(|price| price.estimated),
    }
}

/// Which types to list.
struct Filter<'a> {
    args: &'a CatalogShowArgs,
    min: Resources,
}

impl Filter<'_> {
    fn new<'a>(args: &'a CatalogShowArgs, catalog: &Catalog) -> Result<Filter<'a>, Failure> {
        let mut min = Resources::default();
        for (flag, name, text) in
            [("--min-cpu", CPU, &args.min_cpu), ("--min-memory", MEMORY, &args.min_memory)]
        {
            if let Some(text) = text {
                let amount = quantity::parse_quantity(name, text).map_err(|cause| {
                    Failure::new(flag, cause.to_string(), "write it as in a pod, e.g. 3500m or 16Gi")
                })?;
                min.set(name, amount);
            }
        }
        let known = |test: &dyn Fn(&InstanceType) -> bool| catalog.types.iter().any(test);
        if let Some(zone) = args.zone.as_deref().filter(|zone| !known(&|kind| kind.zone(zone).is_some())) {
            let hint = format!("the catalogue covers {}", catalog.region);
            return Err(Failure::new("--zone", format!("no type is offered in {zone}"), hint));
        }
        if let Some(arch) = args.arch.as_deref().filter(|arch| !known(&|kind| kind.arch.as_str() == *arch)) {
            return Err(Failure::new("--arch", format!("no type has architecture {arch}"), "amd64 or arm64"));
        }
        Ok(Filter { args, min })
    }

    fn accepts(&self, kind: &Listed<'_>) -> bool {
        let named = &self.args.types;
        (named.is_empty() || named.iter().any(|name| kind.instance_type.starts_with(name.as_str())))
            && self.args.arch.as_deref().is_none_or(|arch| arch == kind.arch)
            && !kind.zones.is_empty()
            && self.min.fits(&kind.allocatable)
            && (!self.args.gpu || kind.allocatable.0.keys().any(|name| name.ends_with("/gpu")))
    }
}

fn table(catalog: &Catalog, listed: &[Listed<'_>], palette: Palette) -> String {
    let columns = [
        Column::text("type"),
        Column::fixed("arch"),
        Column::figure("cpu"),
        Column::figure("memory"),
        Column::figure("pods"),
        Column::text("devices"),
        Column::figure("zones"),
        Column::figure("on-demand $/h"),
        Column::figure("spot $/h"),
    ];
    let price =
        |usd: Option<UsdMicros>| usd.map_or_else(|| "-".to_owned(), |usd| usd.to_string().replace('$', ""));
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|kind| {
            let amount = |name| display_amount(name, kind.allocatable.get(name));
            let tilde = if kind.spot_estimated { "~" } else { "" };
            vec![
                kind.instance_type.to_owned(),
                kind.arch.to_owned(),
                amount(CPU),
                amount(MEMORY),
                amount(PODS),
                devices(&kind.allocatable),
                kind.zones.len().to_string(),
                price(kind.on_demand),
                format!("{tilde}{}", price(kind.spot)),
            ]
        })
        .collect();
    let mut text = grid::lay_out(&columns, &rows, 0, palette);
    text.push_str(&format!("{} of {} types\n", listed.len(), catalog.types.len()));
    let dates = format!(
        "{}, on-demand of {}, spot of {}; cpu, memory and pods are allocatable; spot is the cheapest zone, ~ estimated",
        catalog.region, catalog.on_demand_as_of, catalog.spot_as_of
    );
    text.push_str(&grid::wrap("", &dates));
    text
}

/// GPUs and the like: resources with a vendor's name.
fn devices(allocatable: &Resources) -> String {
    let named = allocatable.0.iter().filter(|(name, _)| name.ends_with("/gpu") || name.ends_with("/neuron"));
    let devices: Vec<String> = named.map(|(name, amount)| format!("{amount} {name}")).collect();
    devices.join(", ")
}
