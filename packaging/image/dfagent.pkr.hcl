# Makes the image with Packer, on an instance begun from Debian's own image. See docs/image.md.
#
#   packer init packaging/image/dfagent.pkr.hcl
#   packer build -var region=eu-central-1 packaging/image/dfagent.pkr.hcl

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.0"
    }
  }
}

variable "region" {
  type = string
}

# The folder with the packages that `make deb` made.
variable "packages" {
  type    = string
  default = "out/deb"
}

variable "instance_type" {
  type    = string
  default = "t3.medium"
}

source "amazon-ebs" "worker" {
  region        = var.region
  instance_type = var.instance_type
  ssh_username  = "admin"
  ami_name      = "dfagent-{{timestamp}}"

  # Debian's account. Its images are registered with /dev/xvda, the name by which the root is found.
  source_ami_filter {
    owners      = ["136693071363"]
    most_recent = true
    filters = {
      name                = "debian-12-amd64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 8
    volume_type           = "gp3"
    delete_on_termination = true
  }

  # Of the instance that builds, and of those that begin from the image.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  imds_support = "v2.0"
}

build {
  sources = ["source.amazon-ebs.worker"]

  provisioner "shell" {
    inline = ["mkdir -p /tmp/image/debs"]
  }
  provisioner "file" {
    source      = "${path.root}/"
    destination = "/tmp/image"
  }
  provisioner "file" {
    source      = "${var.packages}/"
    destination = "/tmp/image/debs"
  }
  provisioner "shell" {
    inline = [
      "cloud-init status --wait",
      "sudo bash /tmp/image/provision /tmp/image/debs",
      "sudo rm -rf /tmp/image /home/admin/.ssh",
    ]
  }
}
