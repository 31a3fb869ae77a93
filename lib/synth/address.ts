import {
  TerraformDataSource,
  type TerraformElement,
  TerraformLocal,
  TerraformOutput,
  TerraformResource,
  TerraformVariable,
} from "cdktf";

/** A resource or a data source: what `depends_on` takes. */
export type Addressable = TerraformResource | TerraformDataSource;

export const isAddressable = (construct: unknown): construct is Addressable =>
  TerraformResource.isTerraformResource(construct) || TerraformDataSource.isTerraformDataSource(construct);

/** Address of a resource or data source in its stack, for example `aws_vpc.network_vpc`. */
export const addressOf = (element: Addressable): string =>
  `${TerraformDataSource.isTerraformDataSource(element) ? "data." : ""}${element.terraformResourceType}.${element.friendlyUniqueId}`;

/** The address of any element that has one of its own. */
export function elementAddress(element: TerraformElement): string | undefined {
  if (isAddressable(element)) return addressOf(element);
  if (TerraformOutput.isTerraformOutput(element)) return `output.${element.friendlyUniqueId}`;
  if (element instanceof TerraformVariable) return `var.${element.friendlyUniqueId}`;
  if (element instanceof TerraformLocal) return `local.${element.friendlyUniqueId}`;
  return undefined;
}
