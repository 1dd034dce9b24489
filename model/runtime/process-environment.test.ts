import { expect, it } from "vitest";
import { plainEnvironment, trainingEnvironment } from "./process-environment.ts";

it("adds huge pages to the environment, beside what else is tuned, and leaves a choice alone", () => {
  const name = "GLIBC_TUNABLES";
  const given = { PATH: "/bin" };
  expect(trainingEnvironment(given)).toEqual({ PATH: "/bin", [name]: "glibc.malloc.hugetlb=1" });
  expect(given).toEqual({ PATH: "/bin" });
  const other = { [name]: "glibc.malloc.check=1" };
  expect(trainingEnvironment(other)).toEqual({ [name]: "glibc.malloc.check=1:glibc.malloc.hugetlb=1" });
  for (const before of [given, other]) expect(plainEnvironment(trainingEnvironment(before))).toEqual(before);
  const off = { [name]: "glibc.malloc.hugetlb=0" };
  expect(trainingEnvironment(off)).toEqual(off);
});
