//! Application Recovery Controller: what is shifted away from zones. It speaks REST: the path says what is asked for.

use crate::world::{Refusal, World};
use serde_json::{Value, json};

/// What an ARN follows.
const PATH: &str = "/managedresources/";

impl World {
    pub(crate) fn rest(&mut self, path: &str) -> Result<Value, Refusal> {
        let Some(arn) = path.strip_prefix(PATH) else {
            return Err(Refusal::new("UnknownOperationException", format!("{path} is not known here")));
        };
        if !self.script.managed.iter().any(|one| one == arn) {
            let message = format!("Resource {arn} is not a managed resource");
            return Err(Refusal { status: 404, ..Refusal::new("ResourceNotFoundException", message) });
        }
        let active = self.script.shifts.iter().filter(|one| one.from <= self.now && self.now < one.until);
        let (mut of_people, mut of_aws) = (Vec::new(), Vec::new());
        for (number, one) in active.enumerate() {
            let seconds = |at: u64| self.clock(at).min(4_102_444_800_000).div_euclid(1000);
            let mut said = json!({
                "appliedStatus": if one.outdone { "NOT_APPLIED" } else { "APPLIED" },
                "awayFrom": one.away_from, "startTime": seconds(one.from),
            });
            if one.autoshift {
                of_aws.push(said);
                continue;
            }
            said["zonalShiftId"] = format!("{number:08x}-0000-4000-8000-000000000000").into();
            said["resourceIdentifier"] = arn.into();
            said["comment"] = "".into();
            said["shiftType"] = "ZONAL_SHIFT".into();
            said["expiryTime"] = seconds(one.until).into();
            of_people.push(said);
        }
        let name = arn.rsplit('/').next().unwrap_or_default();
        Ok(json!({
            "arn": arn, "name": name, "appliedWeights": {}, "zonalShifts": of_people, "autoshifts": of_aws,
        }))
    }
}
