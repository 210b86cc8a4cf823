//! Zonal shifts of the cluster, as Application Recovery Controller (ARC) says: zones that traffic is moved away from.

use crate::client::Aws;
use crate::errors::{Kind, Trouble};
use crate::limits::Class;
use aws_sdk_arczonalshift::operation::get_managed_resource::GetManagedResourceOutput;
use aws_sdk_arczonalshift::types::{AppliedStatus, AutoshiftAppliedStatus};
use stowage_executor::{Shift, Time};

/// What to do where ARC has no such resource. It says so in either way.
const HINT: &str = "ARC knows a cluster once zonal shift is enabled for it: \
    aws eks update-cluster-config --name NAME --zonal-shift-config enabled=true";

impl Aws {
    /// Zones that the cluster with this ARN is shifted away from now.
    ///
    /// GetManagedResource is the one call that has both, shifts that people start and those that AWS starts (autoshifts), and of each whether
    /// it is in effect for this very resource: ListZonalShifts has no autoshifts, and ListAutoshifts has those of the region, whether or not the
    /// cluster takes part. It needs one right, on one resource, and has no pages.
    pub(crate) async fn shifts_of(&self, cluster: &str) -> Result<Vec<Shift>, Trouble> {
        let request = || self.arc.get_managed_resource().resource_identifier(cluster).send();
        let answer = self.read("GetManagedResource", Class::Other, request).await;
        answer.map(|answer| said(&answer)).map_err(|mut trouble| {
            if trouble.kind == Kind::NotFound || trouble.text.contains("not a managed resource") {
                trouble.text = format!("{}\n  hint: {HINT}", trouble.text);
            }
            trouble
        })
    }
}

/// What is in effect. Of several shifts ARC applies one: what people start goes before autoshifts, these before practice runs, which move traffic
/// like any other.
fn said(answer: &GetManagedResourceOutput) -> Vec<Shift> {
    let of_people =
        answer.zonal_shifts().iter().filter(|one| *one.applied_status() == AppliedStatus::Applied);
    let of_people = of_people.map(|one| Shift {
        zone_id: one.away_from().to_owned(),
        ends: one.expiry_time().to_millis().ok().map(Time),
    });
    let of_aws =
        answer.autoshifts().iter().filter(|one| *one.applied_status() == AutoshiftAppliedStatus::Applied);
    // AWS ends them when it sees fit.
    let of_aws = of_aws.map(|one| Shift { zone_id: one.away_from().to_owned(), ends: None });
    let mut all: Vec<Shift> = of_people.chain(of_aws).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_arczonalshift::primitives::DateTime;
    use aws_sdk_arczonalshift::types::{AutoshiftInResource, ZonalShiftInResource};

    fn of_people(zone: &str, ends: i64, status: AppliedStatus) -> ZonalShiftInResource {
        let at = DateTime::from_secs;
        let shift =
            ZonalShiftInResource::builder().applied_status(status).zonal_shift_id("1").away_from(zone);
        let shift = shift.resource_identifier("arn").comment("").start_time(at(0)).expiry_time(at(ends));
        shift.build().expect("a shift")
    }

    fn of_aws(zone: &str, status: AutoshiftAppliedStatus) -> AutoshiftInResource {
        let shift = AutoshiftInResource::builder().applied_status(status).away_from(zone);
        shift.start_time(DateTime::from_secs(0)).build().expect("a shift")
    }

    #[test]
    fn what_is_in_effect_counts_whoever_began_it() {
        let answer = GetManagedResourceOutput::builder()
            .applied_weights("use1-az1", 0.0)
            .zonal_shifts(of_people("use1-az2", 60, AppliedStatus::Applied))
            .zonal_shifts(of_people("use1-az4", 60, AppliedStatus::NotApplied))
            .zonal_shifts(of_people("use1-az5", 60, AppliedStatus::from("SOMETHING_NEW")))
            .autoshifts(of_aws("use1-az1", AutoshiftAppliedStatus::Applied))
            .autoshifts(of_aws("use1-az6", AutoshiftAppliedStatus::NotApplied))
            .build()
            .expect("an answer");
        let shift = |zone: &str, ends: Option<i64>| Shift { zone_id: zone.to_owned(), ends: ends.map(Time) };
        assert_eq!(said(&answer), [shift("use1-az1", None), shift("use1-az2", Some(60_000))]);
    }
}
